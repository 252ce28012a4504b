#include <ballast/weights/model_folder.h>

#include <ballast/base/check.h>
#include <ballast/models/catalog.h>
#include <ballast/models/layer_table.h>
#include <ballast/weights/load_weights.h>

namespace ballast {
namespace {

constexpr std::string_view kTimmVit = "vit_tiny_patch16_224";

// timm has the model in this form: its name; else "".
std::string timm_name(const ModelOptions& o) {
  if (o.name == "resnet18" || o.name == "resnet34" || o.name == "resnet50") {
    return o.norm == "batch" && o.act == "relu" ? o.name : "";
  }
  if (o.name == "vit_tiny") return o.norm == "layer" && o.act == "gelu" ? std::string(kTimmVit) : "";
  return "";
}

JsonValue numbers(const std::vector<double>& values) {
  return JsonValue(values);
}

std::vector<double> doubles(const JsonValue* array) {
  std::vector<double> values;
  if (array != nullptr) {
    for (const JsonValue& v : array->elements()) values.push_back(v.number());
  }
  return values;
}

}  // namespace

JsonValue model_config(Model& model, const ModelCard& card, const JsonValue& own) {
  const ModelOptions& o = model.options();
  const std::string known = timm_name(o);
  JsonValue config = JsonValue::object();
  config["architecture"] = known.empty() ? o.name : known;
  config["num_classes"] = o.num_classes;
  config["num_features"] = model.num_features();
  const bool vit = o.name == "vit_tiny";
  config["global_pool"] = vit ? "token" : "avg";
  if (!card.label_names.empty()) config["label_names"] = card.label_names;

  JsonValue args = JsonValue::object();
  if (o.in_channels != 3) args["in_chans"] = o.in_channels;
  if (vit && (o.height != 224 || o.width != 224)) {
    args["img_size"] = std::vector<int64_t>{o.height, o.width};
    const int64_t patch = model.named_parameters()["patch_embed.proj.weight"].size(2);
    if (patch != 16) args["patch_size"] = patch;
  }
  if (args.size() > 0) config["model_args"] = std::move(args);

  JsonValue pretrained = JsonValue::object();
  pretrained["tag"] = "ballast";
  pretrained["custom_load"] = false;
  pretrained["input_size"] = std::vector<int64_t>{o.in_channels, o.height, o.width};
  pretrained["fixed_input_size"] = vit;
  pretrained["interpolation"] = card.interpolation;
  pretrained["crop_pct"] = card.crop_pct;
  pretrained["crop_mode"] = card.crop_mode;
  pretrained["mean"] = numbers(card.mean);
  pretrained["std"] = numbers(card.std);
  pretrained["num_classes"] = o.num_classes;
  if (!vit) {
    const auto cells = [](int64_t size) { return std::max<int64_t>(1, (size + 31) / 32); };
    pretrained["pool_size"] = std::vector<int64_t>{cells(o.height), cells(o.width)};
  } else {
    pretrained["pool_size"] = JsonValue();
  }
  pretrained["first_conv"] = model.first_conv();
  pretrained["classifier"] = model.classifier();
  config["pretrained_cfg"] = std::move(pretrained);

  JsonValue ours = JsonValue::object();
  ours["model"] = o.name;
  ours["in_channels"] = o.in_channels;
  ours["height"] = o.height;
  ours["width"] = o.width;
  ours["norm"] = o.norm;
  ours["init"] = o.init;
  ours["act"] = o.act;
  for (const auto& [key, value] : drop_fields(o)) {
    if (*value != "0") ours[key] = *value;
  }
  for (const auto& [name, value] : own.members()) ours[name] = value;
  JsonValue layers = JsonValue::array();
  for (const LayerRow& row : layer_table(model)) {
    JsonValue layer = JsonValue::object();
    layer["name"] = row.name;
    layer["type"] = row.type;
    layer["shape"] = row.output;
    layer["params"] = row.params;
    layer["macs"] = row.multiply_adds;
    layers.push_back(std::move(layer));
  }
  ours["layers"] = std::move(layers);
  config["ballast"] = std::move(ours);
  return config;
}

void save_model_folder(FileSystem& fs, const std::filesystem::path& folder, Model& model, const ModelCard& card,
                       const JsonValue& own) {
  make_folders(fs, folder);
  write_weights(fs, folder / "model.safetensors", state_dict(model));
  write_file_atomic(fs, folder / "config.json", model_config(model, card, own).text(2) + "\n");
}

ModelOptions options_from_config(const JsonValue& config, std::string_view label) {
  ModelOptions o;
  o.num_classes = config.at("num_classes").integer();
  if (const JsonValue* own = config.find("ballast")) {
    o.name = own->at("model").string();
    o.in_channels = own->at("in_channels").integer();
    o.height = own->at("height").integer();
    o.width = own->at("width").integer();
    o.norm = own->at("norm").string();
    o.init = own->at("init").string();
    o.act = own->at("act").string();
    for (const auto& [key, value] : drop_fields(o)) *value = own->string_or(key, "0");
    return o;
  }
  const std::string architecture = config.at("architecture").string();
  o.name = architecture == kTimmVit ? "vit_tiny" : architecture;
  check<DataError>(o.name == "resnet18" || o.name == "resnet34" || o.name == "resnet50" || o.name == "vit_tiny",
                   "weights", label, ": architecture must be resnet18, resnet34, resnet50 or ", kTimmVit, ", got \"",
                   architecture, '"');
  if (const JsonValue* pretrained = config.find("pretrained_cfg")) {
    if (const JsonValue* size = pretrained->find("input_size"); size != nullptr && size->size() == 3) {
      o.in_channels = size->elements()[0].integer();
      o.height = size->elements()[1].integer();
      o.width = size->elements()[2].integer();
    }
  } else {
    o.height = o.width = 224;
  }
  return o;
}

ModelCard card_from_config(const JsonValue& config) {
  ModelCard card;
  if (const JsonValue* names = config.find("label_names")) {
    for (const JsonValue& name : names->elements()) card.label_names.push_back(name.string());
  }
  if (const JsonValue* pretrained = config.find("pretrained_cfg")) {
    card.mean = doubles(pretrained->find("mean"));
    card.std = doubles(pretrained->find("std"));
    card.interpolation = pretrained->string_or("interpolation", card.interpolation);
    card.crop_pct = pretrained->number_or("crop_pct", card.crop_pct);
    card.crop_mode = pretrained->string_or("crop_mode", card.crop_mode);
  }
  return card;
}

ModelFolder load_model_folder(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "config.json";
  const JsonValue config = parse_json(read_text_file(file, uint64_t{64} << 20), file.string());
  ModelFolder result;
  result.card = card_from_config(config);
  const JsonValue* own = config.find("ballast");
  result.own = own != nullptr ? *own : JsonValue::object();
  const StateDict weights = read_weights(folder / "model.safetensors");
  try {
    result.model = make_model_to_load(options_from_config(config, file.string()));
  } catch (const std::invalid_argument& e) {
    fail<DataError>("weights", file.string(), " must describe a model of the catalog: ", e.what());
  }
  try {
    load_weights(*result.model, weights);
  } catch (const DataError& e) {
    fail<DataError>("weights", (folder / "model.safetensors").string(), " must fit config.json: ", e.what());
  }
  result.model->eval();
  return result;
}

}  // namespace ballast
