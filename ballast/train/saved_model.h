#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <ballast/augment/pipeline.h>
#include <ballast/data/data_options.h>
#include <ballast/io/file.h>
#include <ballast/models/model_options.h>

namespace ballast {

class Model;

/// What belongs to saved weights so that they can be used: how a picture becomes the model's input, and where it came from.
struct SavedModelInfo {
  ModelOptions model;
  std::vector<std::string> classes;
  /// A picture may have several of them: probabilities are the sigmoids of the logits, not their softmax.
  bool several_labels = false;
  /// Pipeline of evaluation, and the values of its normalization.
  std::string eval_pipeline;
  Normalize normalize;
  /// The data of the run, to evaluate on again.
  DataOptions data;
  uint64_t seed = 0;
  /// Where in the run the weights are from, and the value that chose them.
  int64_t epoch = 0, step = 0;
  std::string monitor;
  double value = 0;
  /// Probabilities are those of logits / temperature; > 0. 1 until `ballast calibrate` has found another.
  double temperature = 1;
};

/// Writes a model folder: model.safetensors and config.json (timm's keys, and an object `ballast`), each atomically.
/// Errors  StorageError.
void save_model(FileSystem& fs, const std::filesystem::path& folder, Model& model, const SavedModelInfo& info);

/// Writes parameters and buffers only.
void save_weights(FileSystem& fs, const std::filesystem::path& file, const Model& model);

struct SavedModel {
  std::shared_ptr<Model> model;  ///< in eval mode, on the CPU
  SavedModelInfo info;
  std::filesystem::path folder;  ///< of config.json
};

/// Opens a run folder (its model/), a model folder, or a .safetensors file with config.json beside it (or, of a run's
/// checkpoint, in the run's model/).
/// Errors  DataError that names what is missing or does not fit.
SavedModel load_saved_model(const std::filesystem::path& path);

}  // namespace ballast
