#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <torch/types.h>

#include <ballast/augment/pipeline.h>
#include <ballast/models/model_options.h>
#include <ballast/train/ensemble_file.h>

namespace ballast {

/// Options of load_ensemble.
struct EnsembleOptions {
  std::string device = "auto";
  int threads = 0;  ///< of computing; 0: auto
  /// Views of each picture, shown one after the other: names of plan_tta (train/tta.h): identity, hflip,
  /// vflip, shift:N, five_crop, ten_crop.
  /// A net's views count as one: the mean of their probabilities. Empty: identity alone.
  std::vector<std::string> tta = {};
  /// Passes of each view with the drops active and everything else in evaluation (Gal and
  /// Ghahramani 2016); 0: off.
  int64_t mc = 0;
  uint64_t seed = 0;  ///< of the masks of mc
};

/// What an ensemble says about a batch.
struct EnsembleOutput {
  torch::Tensor probability;    ///< (N, K) float32: combined, calibrated
  torch::Tensor label;          ///< (N) int64: taken before the temperature, which cannot move it
  torch::Tensor members_agree;  ///< (N) int64: members whose own label that is
  /// (N) float32, nats: H(mean p) - mean H(p_m); 0: all members say the same
  torch::Tensor mutual_information;
  int64_t members_used = 0;
};

/// How pictures become the input of nets.
struct NetInput {
  std::string pipeline;
  Normalize normalize;
  int64_t channels = 0, height = 0, width = 0;
  Layout layout = Layout::chw;  ///< of the fastest forward; any is taken
};

class Model;

/// A net of a member.
struct EnsembleNet {
  std::shared_ptr<Model> model;  ///< in eval mode
  size_t input = 0;              ///< which of the ensemble's inputs() it takes
  /// Where the ensemble's classes stand among its own; empty: in the same places.
  std::vector<int64_t> classes = {};
};

/// Several nets as one model.
///
///   ballast::Ensemble ensemble = ballast::load_ensemble("runs/ens");
///   ballast::EnsembleOutput out = ensemble.predict(batch);
///
/// Members of different architectures, input sizes and normalizations may stand together; their
/// classes must have the same names.
/// A model of several labels a picture may be opened as an ensemble of one; it has label_logits() in place of predict().
/// Threads  const calls one after the other.
class Ensemble {
 public:
  ~Ensemble();
  Ensemble(Ensemble&&) noexcept;
  Ensemble& operator=(Ensemble&&) noexcept;

  const std::vector<std::string>& classes() const;
  int64_t members() const;
  const EnsembleRule& rule() const;
  /// Of each member its nets, whose mean probabilities are what it says.
  std::vector<std::vector<EnsembleNet>> nets() const;
  /// 16 hex digits of all weights and of the rule: what the answers hang on.
  std::string digest() const;

  /// x: (N, C, H, W) float32 in [0, 1], resized to the input size: each net normalizes it as it
  /// was trained.
  /// Errors   std::invalid_argument for another shape, or if members take pictures of different
  ///          sizes.
  EnsembleOutput predict(const torch::Tensor& x) const;
  /// The same of pixels that were normalized by `from`: (v - mean) / std.
  EnsembleOutput predict(const torch::Tensor& x, const Normalize& from) const;

  /// The distinct inputs of the nets, and the same from one normalized batch for each. `first_row`
  /// numbers the rows of the batch for the masks of mc: the result does not depend on how rows are
  /// split into batches.
  std::span<const NetInput> inputs() const;
  EnsembleOutput predict_inputs(std::span<const torch::Tensor> x, int64_t first_row = 0) const;
  /// The only net's logits of a batch; for an ensemble of one net without views and passes.
  bool single() const;
  torch::Tensor logits(const torch::Tensor& x) const;
  /// The model is of several labels a picture: each class has a probability of its own, the sigmoid of its logit.
  bool several_labels() const;
  /// (N, K) float32: the logits of such a model, from one normalized batch for each input; of several views the logit of the
  /// mean probability.
  torch::Tensor label_logits(std::span<const torch::Tensor> x) const;
  /// The only net's temperature, of `ballast calibrate`.
  double net_temperature() const;

 private:
  friend Ensemble load_ensemble(const std::filesystem::path& path, const EnsembleOptions& options);
  friend Ensemble load_ensemble(const std::vector<std::filesystem::path>& models,
                                const EnsembleOptions& options);
  struct State;
  explicit Ensemble(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Opens an ensemble's folder (ensemble.json and the runs it names), or a single run, model folder
/// or weights file as an ensemble of one. Errors: DataError that names what is missing or does not
/// fit, or if one of several members is of several labels a picture; std::invalid_argument for views and passes.
Ensemble load_ensemble(const std::filesystem::path& path, const EnsembleOptions& options = {});
/// Models of equal weight by mean probability, each with its own temperature.
Ensemble load_ensemble(const std::vector<std::filesystem::path>& models,
                       const EnsembleOptions& options = {});

}  // namespace ballast
