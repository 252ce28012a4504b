#include <ballast/train/saved_model.h>

#include <cstring>

#include <torch/nn/module.h>

#include <ballast/base/check.h>
#include <ballast/io/json.h>
#include <ballast/io/safetensors.h>
#include <ballast/models/layer_table.h>
#include <ballast/models/model.h>

namespace ballast {
namespace {

struct State {
  std::vector<torch::Tensor> owned;
  std::vector<SafetensorsTensor> tensors;
};

State state_of(const Model& model) {
  State s;
  auto add = [&](const std::string& name, const torch::Tensor& t) {
    const torch::Tensor c = t.detach().to(torch::kCPU).contiguous();
    s.owned.push_back(c);
    const bool integer = c.scalar_type() == torch::kLong;
    s.tensors.push_back({name, integer ? SafetensorsDType::i64 : SafetensorsDType::f32, c.sizes().vec(),
                         {static_cast<const std::byte*>(c.data_ptr()), static_cast<size_t>(c.nbytes())}});
  };
  for (const auto& p : model.named_parameters()) {
    add(p.key(), p.value());
  }
  for (const auto& b : model.named_buffers()) {
    add(b.key(), b.value());
  }
  return s;
}

JsonValue config_json(Model& model, const SavedModelInfo& info) {
  JsonValue c = JsonValue::object();
  c["architecture"] = info.model.name;
  c["num_classes"] = info.model.num_classes;
  c["num_features"] = model.num_features();
  c["global_pool"] = "avg";
  c["label_names"] = info.classes;
  JsonValue pretrained = JsonValue::object();
  pretrained["input_size"] = std::vector<int64_t>{info.model.in_channels, info.model.height, info.model.width};
  pretrained["mean"] = std::vector<double>(info.normalize.mean.begin(), info.normalize.mean.end());
  pretrained["std"] = std::vector<double>(info.normalize.std.begin(), info.normalize.std.end());
  pretrained["num_classes"] = info.model.num_classes;
  pretrained["classifier"] = model.classifier();
  c["pretrained_cfg"] = std::move(pretrained);
  JsonValue own = JsonValue::object();
  own["model"] = info.model.name;
  own["in_channels"] = info.model.in_channels;
  own["height"] = info.model.height;
  own["width"] = info.model.width;
  own["norm"] = info.model.norm;
  own["init"] = info.model.init;
  own["act"] = info.model.act;
  own["eval_pipeline"] = info.eval_pipeline;
  own["data"] = info.data.source;
  own["data_format"] = info.data.format;
  own["split_val"] = info.data.split_val;
  own["split_test"] = info.data.split_test;
  own["limit"] = info.data.limit ? JsonValue(*info.data.limit) : JsonValue();
  own["seed"] = info.seed;
  own["epoch"] = info.epoch;
  own["step"] = info.step;
  own["monitor"] = info.monitor;
  own["value"] = info.value;
  JsonValue layers = JsonValue::array();
  for (const LayerRow& row : layer_table(model)) {
    JsonValue l = JsonValue::object();
    l["name"] = row.name;
    l["type"] = row.type;
    l["shape"] = row.output;
    l["params"] = row.params;
    l["macs"] = row.multiply_adds;
    layers.push_back(std::move(l));
  }
  own["layers"] = std::move(layers);
  c["ballast"] = std::move(own);
  return c;
}

std::vector<float> floats(const JsonValue& array) {
  std::vector<float> out;
  for (const JsonValue& v : array.elements()) {
    out.push_back(static_cast<float>(v.number()));
  }
  return out;
}

SavedModelInfo read_config(const std::filesystem::path& path) {
  const JsonValue c = parse_json(read_text_file(path, uint64_t{64} << 20), path.string());
  SavedModelInfo info;
  const JsonValue* own = c.find("ballast");
  check<DataError>(own != nullptr, "model", path.string(),
                   " must have an object `ballast`, which says how pictures become the model's input; got none");
  info.model.name = own->at("model").string();
  info.model.in_channels = own->at("in_channels").integer();
  info.model.height = own->at("height").integer();
  info.model.width = own->at("width").integer();
  info.model.norm = own->at("norm").string();
  info.model.init = own->at("init").string();
  info.model.act = own->at("act").string();
  info.model.num_classes = c.at("num_classes").integer();
  for (const JsonValue& name : c.at("label_names").elements()) {
    info.classes.push_back(name.string());
  }
  check<DataError>(static_cast<int64_t>(info.classes.size()) == info.model.num_classes, "model", path.string(),
                   ": label_names must have ", info.model.num_classes, " names, got ", info.classes.size());
  info.eval_pipeline = own->at("eval_pipeline").string();
  info.normalize = {floats(c.at("pretrained_cfg").at("mean")), floats(c.at("pretrained_cfg").at("std"))};
  info.data.source = own->string_or("data", "");
  info.data.format = own->string_or("data_format", "auto");
  info.data.split_val = own->number_or("split_val", 0.1);
  info.data.split_test = own->number_or("split_test", 0.1);
  if (const JsonValue* limit = own->find("limit"); limit != nullptr && limit->is_integer()) {
    info.data.limit = limit->integer();
  }
  if (const JsonValue* seed = own->find("seed"); seed != nullptr && seed->is_integer()) {
    info.seed = seed->unsigned_integer();
  }
  info.epoch = static_cast<int64_t>(own->number_or("epoch", 0));
  info.step = static_cast<int64_t>(own->number_or("step", 0));
  info.monitor = own->string_or("monitor", "");
  info.value = own->number_or("value", 0);
  return info;
}

void load(Model& model, const std::filesystem::path& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  torch::NoGradGuard no_grad;
  size_t used = 0;
  auto copy = [&](const std::string& name, torch::Tensor to) {
    const SafetensorsEntry& e = file.at(name);
    const bool integer = to.scalar_type() == torch::kLong;
    check<DataError>(e.shape == to.sizes().vec() && e.dtype == (integer ? SafetensorsDType::i64 : SafetensorsDType::f32),
                     "model", path.string(), ": ", name, " must have the model's shape and type");
    torch::Tensor from = torch::empty(to.sizes(), to.options().memory_format(torch::MemoryFormat::Contiguous));
    const std::span<const std::byte> bytes = file.bytes(e);
    std::memcpy(from.data_ptr(), bytes.data(), bytes.size());
    to.copy_(from);
    ++used;
  };
  for (const auto& p : model.named_parameters()) {
    copy(p.key(), p.value());
  }
  for (const auto& b : model.named_buffers()) {
    copy(b.key(), b.value());
  }
  check<DataError>(used == file.entries().size(), "model", path.string(), " must hold the ", used, " tensors of the model, got ",
                   file.entries().size());
}

}  // namespace

void save_weights(FileSystem& fs, const std::filesystem::path& file, const Model& model) {
  const State state = state_of(model);
  write_safetensors(fs, file, state.tensors);
}

void save_model(FileSystem& fs, const std::filesystem::path& folder, Model& model, const SavedModelInfo& info) {
  make_folders(fs, folder);
  save_weights(fs, folder / "model.safetensors", model);
  write_file_atomic(fs, folder / "config.json", config_json(model, info).text(2) + "\n");
}

SavedModel load_saved_model(const std::filesystem::path& path) {
  namespace stdfs = std::filesystem;
  std::error_code ignored;
  check<DataError>(stdfs::exists(path, ignored), "model", path.string(), " must be a run, a model folder or a .safetensors file; there is nothing there");
  stdfs::path weights = path, config;
  if (stdfs::is_directory(path, ignored)) {
    const stdfs::path folder = stdfs::exists(path / "model" / "config.json", ignored) ? path / "model" : path;
    weights = folder / "model.safetensors";
    config = folder / "config.json";
  } else {
    config = path.parent_path() / "config.json";
  }
  if (!stdfs::exists(config, ignored)) {  // a checkpoint: checkpoints/step-n of a run
    const stdfs::path run = weights.parent_path().parent_path().parent_path();
    if (stdfs::exists(run / "model" / "config.json", ignored)) {
      config = run / "model" / "config.json";
    }
  }
  check<DataError>(stdfs::exists(weights, ignored) && stdfs::exists(config, ignored), "model", path.string(),
                   " must hold model.safetensors and config.json (a run writes them into its model/), got neither or one");
  SavedModel saved;
  saved.folder = config.parent_path();
  saved.info = read_config(config);
  saved.model = make_model_to_load(saved.info.model);
  load(*saved.model, weights);
  saved.model->eval();
  return saved;
}

}  // namespace ballast
