#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <torch/types.h>

#include <ballast/base/key.h>
#include <ballast/data/data_set.h>
#include <ballast/data/loader.h>
#include <ballast/io/prediction_file.h>
#include <ballast/train/evaluate.h>
#include <ballast/train/tta.h>

namespace ballast {

class Model;

/// What evaluate_loader needs beside the model and the data.
struct EvaluateOptions {
  torch::Device device = torch::kCPU;
  int64_t classes = 0;
  /// Of a model of several labels a picture: the classes of each label of the loader. The table is then one of several labels,
  /// and the probabilities of views are sigmoids. Without mc. Empty: one label.
  LabelSets label_sets = {};
  double temperature = 1;
  /// Monte-Carlo passes with the model's drops active; 0: one pass without them. The table then holds the logs of the mean
  /// probabilities. Masks are keyed by mc_key.
  int64_t mc = 0;
  Key mc_key = {};
  /// Views of each picture, whose probabilities are averaged; the table then holds the logs of the means. Empty: the
  /// picture as it is. Not with mc.
  std::vector<TtaView> views = {};
  /// In place of the model's forward pass; without mc. Empty: the model's.
  std::function<torch::Tensor(const torch::Tensor& x)> forward = {};
  /// Called after each batch with the number of samples done; false: stop, the table is then empty.
  std::function<bool(int64_t done)> on_batch = {};
};

/// EvaluateOptions::label_sets for a model of several labels whose classes these are: data of one label a picture counts as sets
/// of one. Empty for a model of one label.
/// Errors   std::invalid_argument `[evaluate] data must have one label a picture, as the model was trained, got several`; a class
///          that the model does not have.
LabelSets label_sets_for(const DataSet& data, const std::vector<std::string>& model_classes, bool several_labels);

/// The data's classes as those of the model, by name. Errors: std::invalid_argument naming one that is missing.
std::vector<int32_t> class_map(const std::vector<std::string>& data, const std::vector<std::string>& model);

/// Runs the model in eval mode, without gradients, over all samples of the loader's epoch 0 and returns the table of its
/// predictions, sorted by index. Each sample is counted once; rows of weight 0 (unreadable pictures) are left out. The
/// model's mode is put back.
///
/// With mc, `spread` (if given) gets the means over samples of what the passes disagree in.
///
/// The loader must not shuffle, drop or substitute (shuffle = false, drop_single = false, on_bad = skip).
/// Errors  what the loader throws; std::invalid_argument if the model's outputs are not `classes`.
PredictionTable evaluate_loader(Model& model, Loader& loader, const EvaluateOptions& options, McSpread* spread = nullptr);

}  // namespace ballast
