#include <ballast/train/saved_model.h>

#include <cmath>

#include <torch/nn/module.h>

#include <ballast/base/check.h>
#include <ballast/io/json.h>
#include <ballast/models/model.h>
#include <ballast/weights/model_folder.h>
#include <ballast/weights/load_weights.h>

namespace ballast {
namespace {

JsonValue own_json(const SavedModelInfo& info) {
  JsonValue own = JsonValue::object();
  own["eval_pipeline"] = info.eval_pipeline;
  if (info.several_labels) {
    own["labels"] = "several";
  }
  own["data"] = info.data.source;
  own["data_format"] = info.data.format;
  own["cifar_labels"] = info.data.cifar_labels;
  own["split_val"] = info.data.split_val;
  own["split_test"] = info.data.split_test;
  own["limit"] = info.data.limit ? JsonValue(*info.data.limit) : JsonValue();
  if (info.data.split_seed) {
    own["split_seed"] = *info.data.split_seed;
  }
  if (info.data.split_hold > 0) {
    own["split_hold"] = info.data.split_hold;
  }
  if (info.data.bag != "none") {
    own["bag"] = info.data.bag;
  }
  own["seed"] = info.seed;
  own["epoch"] = info.epoch;
  own["step"] = info.step;
  own["monitor"] = info.monitor;
  own["value"] = info.value;
  if (info.temperature != 1) {
    own["temperature"] = info.temperature;
  }
  return own;
}

std::vector<float> floats(const std::vector<double>& v) { return {v.begin(), v.end()}; }

// How pictures become the input of a model whose config.json does not say it in ballast's words (timm's folders).
std::string pipeline_of(const ModelCard& card, const ModelOptions& model) {
  const std::string h = std::to_string(model.height), w = std::to_string(model.width);
  const auto side = static_cast<int64_t>(std::lround(static_cast<double>(model.height) / card.crop_pct));
  return model.height == model.width ? "resize(" + std::to_string(side) + ") | center_crop(" + h + ")"
                                     : "resize(size=[" + h + "," + w + "])";
}

SavedModelInfo info_of(const ModelFolder& opened) {
  SavedModelInfo info;
  info.model = opened.model->options();
  info.classes = opened.card.label_names;
  if (info.classes.empty()) {
    for (int64_t k = 0; k < info.model.num_classes; ++k) {
      info.classes.push_back(std::to_string(k));
    }
  }
  const JsonValue& own = opened.own;
  info.eval_pipeline = own.string_or("eval_pipeline", "");
  if (info.eval_pipeline.empty()) {
    info.eval_pipeline = pipeline_of(opened.card, info.model);
  }
  const std::string labels = own.string_or("labels", "one");
  check<DataError>(labels == "one" || labels == "several", "model", "labels of config.json must be one or several, got \"", labels, '"');
  info.several_labels = labels == "several";
  info.normalize = {floats(opened.card.mean), floats(opened.card.std)};
  info.data.source = own.string_or("data", "");
  info.data.format = own.string_or("data_format", "auto");
  info.data.cifar_labels = own.string_or("cifar_labels", "fine");
  info.data.split_val = own.number_or("split_val", 0.1);
  info.data.split_test = own.number_or("split_test", 0.1);
  if (const JsonValue* limit = own.find("limit"); limit != nullptr && limit->is_integer()) {
    info.data.limit = limit->integer();
  }
  if (const JsonValue* seed = own.find("split_seed"); seed != nullptr) {
    info.data.split_seed = seed->unsigned_integer();
  }
  info.data.split_hold = own.number_or("split_hold", 0);
  info.data.bag = own.string_or("bag", "none");
  if (const JsonValue* seed = own.find("seed"); seed != nullptr && seed->is_integer()) {
    info.seed = seed->unsigned_integer();
  }
  info.epoch = static_cast<int64_t>(own.number_or("epoch", 0));
  info.step = static_cast<int64_t>(own.number_or("step", 0));
  info.monitor = own.string_or("monitor", "");
  info.value = own.number_or("value", 0);
  info.temperature = own.number_or("temperature", 1);
  check<DataError>(std::isfinite(info.temperature) && info.temperature > 0, "model", "temperature of config.json must be above 0, got ",
                   info.temperature);
  return info;
}

}  // namespace

void save_weights(FileSystem& fs, const std::filesystem::path& file, const Model& model) {
  write_weights(fs, file, state_dict(model));
}

void save_model(FileSystem& fs, const std::filesystem::path& folder, Model& model, const SavedModelInfo& info) {
  ModelCard card;
  card.label_names = info.classes;
  card.mean.assign(info.normalize.mean.begin(), info.normalize.mean.end());
  card.std.assign(info.normalize.std.begin(), info.normalize.std.end());
  save_model_folder(fs, folder, model, card, own_json(info));
}

SavedModel load_saved_model(const std::filesystem::path& path) {
  namespace stdfs = std::filesystem;
  std::error_code ignored;
  check<DataError>(stdfs::exists(path, ignored), "model", path.string(),
                   " must be a run, a model folder or a .safetensors file; there is nothing there");
  auto is_folder = [&](const stdfs::path& p) { return stdfs::exists(p / "config.json", ignored); };
  SavedModel saved;
  stdfs::path weights;  // in place of the folder's own
  if (stdfs::is_directory(path, ignored)) {
    saved.folder = is_folder(path / "model") ? path / "model" : path;
    if (!is_folder(saved.folder) && stdfs::exists(path / "model.safetensors", ignored)) {
      weights = path / "model.safetensors";  // a checkpoint: checkpoints/step-n of a run
      saved.folder = stdfs::absolute(path).lexically_normal().parent_path().parent_path() / "model";
    }
  } else {
    weights = path;
    saved.folder = stdfs::absolute(path).parent_path();
    if (!is_folder(saved.folder)) {
      saved.folder = saved.folder.parent_path().parent_path() / "model";
    }
  }
  check<DataError>(is_folder(saved.folder), "model", path.string(),
                   " must have a config.json (a run writes it into its model/), got none");
  ModelFolder opened = load_model_folder(saved.folder);
  if (!weights.empty()) {
    load_weights(*opened.model, read_weights(weights));
  }
  saved.info = info_of(opened);
  saved.model = std::move(opened.model);
  saved.model->eval();
  return saved;
}

}  // namespace ballast
