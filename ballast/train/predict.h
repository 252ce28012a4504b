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
  int64_t topk = 5;      ///< at most the number of classes is given
  bool logits = false;   ///< also return all logits
  int threads = 0;       ///< of computing; 0: auto
  int workers = -1;      ///< threads that decode; 0: the caller's alone, -1: the usable cores
  std::string device = "auto";
};

/// What the model says about one file.
struct Prediction {
  std::filesystem::path file;
  /// Empty, or why the file could not be read; then all else is empty.
  std::string error;
  std::vector<int64_t> classes;       ///< the k most probable, best first; ties: lower class first
  std::vector<double> probabilities;  ///< softmax of logits / the temperature of `ballast calibrate`, same order
  std::vector<float> logits;          ///< all classes, if asked for
};

/// A saved model that classifies picture files.
class Predictor {
 public:
  /// `model`: a run folder, a model folder (model.safetensors + config.json) or a weights file with its config.json
  /// beside it.
  /// Errors  DataError: files missing or corrupt; std::invalid_argument: an option out of range.
  Predictor(const std::filesystem::path& model, const PredictOptions& options = {});
  ~Predictor();
  Predictor(Predictor&&) noexcept;
  Predictor& operator=(Predictor&&) noexcept;

  const std::vector<std::string>& classes() const;

  /// One prediction a file, in their order. A file that cannot be read has `error` set; the others go on.
  /// `on_batch` is called after each batch with the number of files done; it returns false to stop early.
  std::vector<Prediction> predict(std::span<const std::filesystem::path> files,
                                  const std::function<bool(size_t done)>& on_batch = {}) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ballast
