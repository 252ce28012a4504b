#include <ballast/models/model.h>

#include <ballast/base/check.h>
#include <ballast/init/catalog.h>
#include <ballast/models/catalog.h>
#include <ballast/models/layers.h>

namespace ballast {
namespace {

struct Maker {
  std::string_view recipe;
  std::shared_ptr<Model> (*make)(const ModelOptions&);
};

// By the row's recipe, which names its family.
constexpr Maker kMakers[] = {
    {"mlp", detail::make_mlp},       {"lenet", detail::make_lenet},
    {"plain_cnn", detail::make_plain_cnn}, {"resnet", detail::make_resnet},
    {"wide_resnet", detail::make_wide_resnet}, {"vit", detail::make_vit},
    {"rnn", detail::make_rnn},
};

const ModelRow& row_of(const ModelOptions& options) {
  return *parse_model_name(options.name).row;
}

}  // namespace

bool Model::prefers_channels_last() const {
  return row_of(options_).channels_last;
}

std::map<std::string, double> Model::lr_scale() const {
  std::map<std::string, double> factors;
  if (options_.init != "fixup") return factors;
  for (const auto& module : named_modules("", /*include_self=*/false)) {
    const torch::nn::Module& m = *module.value();
    const bool scalar = dynamic_cast<const ScalarBiasImpl*>(&m) != nullptr || dynamic_cast<const ScalarGateImpl*>(&m) != nullptr;
    if (!scalar) continue;
    for (const auto& p : m.named_parameters(/*recurse=*/false)) factors[module.key() + '.' + p.key()] = 0.1;
  }
  return factors;
}

std::string Model::recipe() const {
  return std::string(row_of(options_).init);
}

std::shared_ptr<torch::nn::Module> Model::clone(const torch::optional<torch::Device>& device) const {
  const std::shared_ptr<Model> copy = make_model_to_load(options_);
  torch::NoGradGuard no_grad;
  const auto fill = [&](const auto& from, const auto& to) {
    for (const auto& item : from) {
      torch::Tensor& target = *const_cast<torch::Tensor*>(to.find(item.key()));
      target.set_data(item.value().detach().to(device.value_or(item.value().device()), item.value().scalar_type(),
                                               /*non_blocking=*/false, /*copy=*/true));
      target.set_requires_grad(item.value().requires_grad());
    }
  };
  fill(named_parameters(), copy->named_parameters());
  fill(named_buffers(), copy->named_buffers());
  const auto modules = this->modules(), copies = copy->modules();
  for (size_t i = 0; i < modules.size(); ++i) copies[i]->train(modules[i]->is_training());
  return copy;
}

ModelOptions resolve(const ModelOptions& given) {
  const ModelRow& row = row_of(given);
  ModelOptions options = given;
  if (options.norm == "auto") options.norm = row.norm;
  if (options.act == "auto") options.act = row.act;
  if (options.init == "auto") {
    const bool residual = row.init == "resnet" || row.init == "wide_resnet";
    options.init = residual && parse_norm(options.norm).kind == NormKind::none ? "fixup" : row.init;
  }
  return options;
}

std::shared_ptr<Model> make_model_to_load(const ModelOptions& given) {
  const ModelOptions options = resolve(given);
  const auto at_least_1 = [](const char* what, int64_t value) {
    check(value >= 1, "models", what, " must be >= 1, got ", value);
  };
  at_least_1("in_channels", options.in_channels);
  at_least_1("height", options.height);
  at_least_1("width", options.width);
  at_least_1("num_classes", options.num_classes);
  parse_init(options.init);
  // Families are called as their usual recipe; resnet8_wide is a resnet with another one.
  const ModelRow& row = row_of(options);
  const std::string_view family = row.name.starts_with("resnet") ? "resnet" : row.init;
  for (const Maker& maker : kMakers) {
    if (maker.recipe == family) return maker.make(options);
  }
  fail<std::logic_error>("models", "every row must have a maker, got ", options.name);
}

std::shared_ptr<Model> make_model(const ModelOptions& options, Key run) {
  const std::shared_ptr<Model> model = make_model_to_load(options);
  init_model(*model, {.recipe = model->options().init, .act = parse_act(model->options().act), .key = run});
  return model;
}

}  // namespace ballast
