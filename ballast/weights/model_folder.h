#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <ballast/io/file.h>
#include <ballast/io/json.h>
#include <ballast/models/model.h>

namespace ballast {

/// What people need beside the weights to use a model.
struct ModelCard {
  /// Names of the classes, in the order of the outputs.
  std::vector<std::string> label_names;
  /// Per channel, of pictures scaled to [0, 1].
  std::vector<double> mean, std;
  std::string interpolation = "bilinear";
  /// Part of the resized picture that the centre crop keeps.
  double crop_pct = 1;
  std::string crop_mode = "center";
};

/// config.json of a model folder: timm's keys (architecture, num_classes, num_features, global_pool, label_names,
/// model_args, pretrained_cfg) and an object `ballast` {model, in_channels, height, width, norm, init, act, layers
/// [{name, type, shape, params, macs}]} followed by the members of `own`.
///
/// architecture is timm's name where timm has the model in this form (resnet18/34/50 with batch norm and relu, vit_tiny
/// with layer norm and gelu), with model_args as needed (in_chans, img_size, patch_size); else the name in the options.
JsonValue model_config(Model& model, const ModelCard& card, const JsonValue& own = JsonValue::object());

/// Writes model.safetensors and config.json into a folder, made if missing; each atomically, the weights first.
/// Opens in timm: timm.create_model("local-dir:FOLDER", pretrained=True).
/// Errors   StorageError.
void save_model_folder(FileSystem& fs, const std::filesystem::path& folder, Model& model, const ModelCard& card,
                       const JsonValue& own = JsonValue::object());

/// A model folder, opened.
struct ModelFolder {
  std::shared_ptr<Model> model;  ///< in eval mode
  ModelCard card;
  JsonValue own;                 ///< the object `ballast`; empty for a folder that timm wrote
};

/// Opens a folder of save_model_folder, or one that timm saved (resnet18/34/50, vit_tiny_patch16_224).
/// Errors   DataError with the path: missing or broken files, an architecture that is not in the catalog, weights that do
///          not fit.
ModelFolder load_model_folder(const std::filesystem::path& folder);

/// The options of the model that a config.json describes. `label` names it in errors.
ModelOptions options_from_config(const JsonValue& config, std::string_view label);
ModelCard card_from_config(const JsonValue& config);

}  // namespace ballast
