#pragma once

#include <cstdint>
#include <functional>

#include <torch/types.h>

#include <ballast/data/loader.h>
#include <ballast/io/prediction_file.h>

namespace ballast {

class Model;

/// What evaluate_loader needs beside the model and the data.
struct EvaluateOptions {
  torch::Device device = torch::kCPU;
  int64_t classes = 0;
  double temperature = 1;
  /// Called after each batch with the number of samples done; false: stop, the table is then empty.
  std::function<bool(int64_t done)> on_batch = {};
};

/// Runs the model in eval mode, without gradients, over all samples of the loader's epoch 0 and returns the table of its
/// predictions, sorted by index. Each sample is counted once; rows of weight 0 (unreadable pictures) are left out. The
/// model's mode is put back.
///
/// The loader must not shuffle, drop or substitute (shuffle = false, drop_single = false, on_bad = skip).
/// Errors  what the loader throws; std::invalid_argument if the model's outputs are not `classes`.
PredictionTable evaluate_loader(Model& model, Loader& loader, const EvaluateOptions& options);

}  // namespace ballast
