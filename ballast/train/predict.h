#pragma once

// No torch in this header.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace ballast {

/// Options of Predictor.
struct PredictOptions {
  int64_t batch_size = 64;
  int64_t topk = 5;      ///< at most the number of classes is given; not of several labels
  /// Of a model of several labels a picture: the classes above it are given, in [0, 1).
  double threshold = 0.5;
  bool logits = false;   ///< also return all logits
  int threads = 0;       ///< of computing; 0: auto
  int workers = -1;      ///< threads that decode; 0: the caller's alone, -1: the usable cores
  std::string device = "auto";
  /// Views of each picture and passes with active drops; see EnsembleOptions (train/ensemble_model.h).
  std::vector<std::string> tta = {};
  int64_t mc = 0;
};

/// What the model says about one file.
struct Prediction {
  std::filesystem::path file;
  /// Empty, or why the file could not be read; then all else is empty.
  std::string error;
  /// The k most probable, best first; ties: lower class first. Of several labels a picture all above the threshold, or none.
  std::vector<int64_t> classes;
  /// Softmax of logits / the temperature of `ballast calibrate`, same order. Of several labels a picture the sigmoids.
  std::vector<double> probabilities;
  std::vector<float> logits;          ///< all classes, if asked for; of an ensemble: log of the probabilities
  /// Of an ensemble: members whose own best class is the first one, and how much they differ: H(mean p) - mean H(p_m), nats.
  int64_t members_agree = 1;
  double mutual_information = 0;
};

/// A saved model, or an ensemble of them, that classifies picture files. A file is read once, decoded once for each way in which
/// members resize, and shown to all members.
class Predictor {
 public:
  /// `model`: a run folder, a model folder (model.safetensors + config.json), a weights file with its config.json
  /// beside it, or an ensemble's folder.
  /// Errors  DataError: files missing or corrupt; std::invalid_argument: an option out of range.
  Predictor(const std::filesystem::path& model, const PredictOptions& options = {});
  ~Predictor();
  Predictor(Predictor&&) noexcept;
  Predictor& operator=(Predictor&&) noexcept;

  const std::vector<std::string>& classes() const;
  /// The model is of several labels a picture.
  bool several_labels() const;
  /// Members of the ensemble; 1: a single model.
  int64_t members() const;

  /// One prediction a file, in their order. A file that cannot be read has `error` set; the others go on.
  /// `on_batch` is called after each batch with the number of files done; it returns false to stop early.
  std::vector<Prediction> predict(std::span<const std::filesystem::path> files,
                                  const std::function<bool(size_t done)>& on_batch = {}) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ballast
