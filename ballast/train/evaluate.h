#pragma once

// No torch in this header.

#include <filesystem>
#include <string>
#include <vector>

#include <ballast/train/metrics.h>

namespace ballast {

struct RunEvents;

/// Options of evaluate_saved.
struct EvalOptions {
  /// A run folder, a model folder (model.safetensors + config.json) or a weights file with its config.json beside it.
  std::filesystem::path model;
  /// Data to evaluate on, as `--data` takes it. Empty: the data of the run that the model belongs to.
  std::string data;
  /// Role: train, val, test, hold; auto: test, or val if the data has no test part.
  std::string split = "auto";
  int64_t batch_size = 256;
  int threads = 0;       ///< 0: auto
  int workers = -1;      ///< -1: auto
  std::string device = "auto";
  /// Logits are divided by it.
  double temperature = 1;
  /// Monte-Carlo passes with the model's drops active (mc_dropout), whose mean probabilities count; 0: one pass without.
  int64_t mc = 0;
  /// Views of each picture, whose mean probabilities count; see EnsembleOptions (train/ensemble_model.h).
  std::vector<std::string> tta = {};
  /// Where to write the predictions as safetensors; empty: nowhere.
  std::filesystem::path predictions;
};

/// How much Monte-Carlo passes disagree, means over samples.
struct McSpread {
  double variance = 0;            ///< of the probabilities over the passes, summed over classes
  double mutual_information = 0;  ///< nats
};

struct EvalResult {
  Metrics metrics;
  std::vector<std::string> classes;
  std::string data, split, model;   ///< as resolved, to be printed
  double seconds = 0, images_per_second = 0;
  McSpread mc;                      ///< with EvalOptions::mc
  int64_t views = 1;                ///< shown of each picture
  int64_t bad_samples = 0;          ///< unreadable files, left out
  bool interrupted = false;         ///< stop_requested() said so; the metrics are empty
};

/// Evaluates saved weights on one split, counting each sample once.
///
/// With mc masks are keyed by the run's seed: the same figures each time, for any batch size.
///
/// Errors  DataError: files missing or corrupt; std::invalid_argument: unknown split, or classes that do not fit.
EvalResult evaluate_saved(const EvalOptions& options, RunEvents& events);

}  // namespace ballast
