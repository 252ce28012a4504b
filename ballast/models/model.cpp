#include <ballast/models/model.h>

#include <ballast/base/check.h>
#include <ballast/drop/drop_layer.h>
#include <ballast/init/catalog.h>
#include <ballast/models/catalog.h>
#include <ballast/models/layers.h>

namespace ballast {
namespace {

struct Maker {
  std::string_view family;
  std::shared_ptr<Model> (*make)(const ModelOptions&);
};

constexpr Maker kMakers[] = {
    {"mlp", detail::make_mlp},       {"lenet", detail::make_lenet},
    {"plain_cnn", detail::make_plain_cnn}, {"resnet", detail::make_resnet},
    {"wide_resnet", detail::make_wide_resnet}, {"vit", detail::make_vit},
    {"rnn", detail::make_rnn},
};

const ModelRow& row_of(const ModelOptions& options) {
  return *parse_model_name(options.name).row;
}

// A row's recipe names its family, but for the shallow ResNets, whose branches start open as a wide_resnet's do (with last
// norms of 0 so short a net learns slower: docs/decisions/0006).
std::string_view family_of(const ModelRow& row) {
  return row.name.starts_with("resnet") ? std::string_view("resnet") : row.init;
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
  // Norms may have been converted since the model was made.
  const auto norms = copy->named_modules();
  for (const auto& module : named_modules()) {
    const auto* norm = dynamic_cast<const NormImpl*>(module.value().get());
    const auto* own = norm != nullptr ? norms.find(module.key()) : nullptr;
    if (own == nullptr) continue;
    auto& target = dynamic_cast<NormImpl&>(**own);
    if (!(target.options == norm->options)) target.become(norm->options);
    target.gather = norm->gather;
  }
  const auto fill = [&](const auto& from, const auto& to) {
    for (const auto& item : from) {
      const torch::Tensor* found = to.find(item.key());
      check(found != nullptr, "models", "a model must have the parameters it was made with to be cloned, got ", item.key());
      torch::Tensor& target = *const_cast<torch::Tensor*>(found);
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

std::vector<DropPlace> drop_places(const torch::nn::Module& model) {
  std::vector<DropPlace> places;
  for (const auto& item : model.named_modules("", false)) {
    if (const auto* layer = dynamic_cast<const DropLayer*>(item.value().get())) {
      places.push_back({item.key(), std::string(layer->stem()), layer->drop_rate()});
    }
  }
  return places;
}

ModelOptions resolve(const ModelOptions& given) {
  const ModelRow& row = row_of(given);
  ModelOptions options = given;
  if (options.norm == "auto") options.norm = row.norm;
  if (options.act == "auto") options.act = row.act;
  if (options.init == "auto") {
    const bool residual = row.init == "resnet" || row.init == "wide_resnet";
    const NormSpec norm = parse_norm(options.norm);
    const bool open = row.name == "resnet" && parse_model_name(options.name).depth <= 20;  // as resnet8 and resnet20
    options.init = residual && norm.kind == NormKind::none && norm.weight == WeightForm::plain ? "fixup"
                   : open                                                                      ? "wide_resnet"
                                                                                               : row.init;
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
  const std::string_view family = family_of(row_of(options));
  for (const Maker& maker : kMakers) {
    if (maker.family != family) continue;
    std::shared_ptr<Model> model = maker.make(options);
    name_layers(*model);
    for (const DropRateRule& rule : parse_drop_rates(options.drop_rate)) set_drop_rate_at(*model, rule.glob, rule.p);
    return model;
  }
  fail<std::logic_error>("models", "every row must have a maker, got ", options.name);
}

std::shared_ptr<Model> make_model(const ModelOptions& options, Key run) {
  const std::shared_ptr<Model> model = make_model_to_load(options);
  const RecipeOptions recipe{.recipe = model->options().init, .act = parse_act(model->options().act), .key = run};
  if (parse_norm(model->options().norm).weight == WeightForm::plain) {
    init_model(*model, recipe);
    return model;
  }
  // Computed weights start as the plain ones would. A residual model's are those that it has with norms: without, its
  // start is Fixup's, whose zero weights have no direction.
  check(recipe.recipe != "fixup", "fixup", "norm must be none, got ", model->options().norm);
  ModelOptions with_plain_weights = model->options();
  with_plain_weights.norm = model->branches().empty() ? "none" : "batch";
  const std::shared_ptr<Model> plain = make_model_to_load(with_plain_weights);
  init_model(*plain, recipe);
  detail::take_start(*plain, *model);
  return model;
}

}  // namespace ballast
