#include <ballast/weights/freeze.h>

#include <torch/nn/functional/instancenorm.h>  // LibTorch 1.13: modules/instancenorm.h needs it
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/instancenorm.h>

#include <algorithm>
#include <functional>
#include <set>

#include <ballast/base/check.h>
#include <ballast/base/glob.h>
#include <ballast/base/layer_role.h>

namespace ballast {
namespace {

template <class... Modules>
bool is_one_of(const torch::nn::Module& module) {
  return ((dynamic_cast<const Modules*>(&module) != nullptr) || ...);
}

// A layer whose mode matters: a norm or a drop, ballast's or LibTorch's.
bool has_mode(const torch::nn::Module& module) {
  return dynamic_cast<const HasLayerRole*>(&module) != nullptr ||
         is_one_of<torch::nn::BatchNorm1dImpl, torch::nn::BatchNorm2dImpl, torch::nn::BatchNorm3dImpl,
                   torch::nn::InstanceNorm1dImpl, torch::nn::InstanceNorm2dImpl, torch::nn::InstanceNorm3dImpl,
                   torch::nn::DropoutImpl, torch::nn::Dropout2dImpl, torch::nn::Dropout3dImpl, torch::nn::AlphaDropoutImpl,
                   torch::nn::FeatureAlphaDropoutImpl>(module);
}

bool matches_any(const std::vector<std::string>& globs, const std::string& name) {
  return std::any_of(globs.begin(), globs.end(), [&](const std::string& g) { return glob_matches(g, name); });
}

void set_modes(torch::nn::Module& module, const FreezeReport& report, const std::function<bool(const FrozenLayer&)>& mode) {
  const auto modules = module.named_modules();
  for (const FrozenLayer& layer : report.layers) {
    const auto* found = modules.find(layer.name);
    check(found != nullptr, "weights", "report must belong to this model, got a layer ", layer.name, " that it lacks");
    (*found)->train(mode(layer));
  }
}

}  // namespace

FreezeReport freeze(torch::nn::Module& module, const std::vector<std::string>& globs) {
  const auto parameters = module.named_parameters();
  for (const std::string& glob : globs) {
    const bool any = std::any_of(parameters.begin(), parameters.end(),
                                 [&](const auto& p) { return glob_matches(glob, p.key()); });
    check(any, "weights", glob, " must match a parameter, got none");
  }
  FreezeReport report;
  std::set<std::string> matched;
  for (const auto& p : parameters) {
    if (!matches_any(globs, p.key())) continue;
    matched.insert(p.key());
    torch::Tensor value = p.value();
    if (!value.requires_grad()) continue;
    value.set_requires_grad(false);
    value.mutable_grad() = torch::Tensor();
    report.parameters.push_back(p.key());
    report.numbers += value.numel();
  }
  for (const auto& m : module.named_modules()) {
    if (m.key().empty() || !has_mode(*m.value())) continue;
    const auto own = m.value()->named_parameters(/*recurse=*/false);
    const bool all = !own.is_empty() && std::all_of(own.begin(), own.end(), [&](const auto& p) {
      return matched.count(m.key() + "." + p.key()) > 0;
    });
    if (!all && !matches_any(globs, m.key())) continue;
    FrozenLayer layer{.name = m.key(), .was_training = m.value()->is_training()};
    if (auto* drop = dynamic_cast<DropLayer*>(m.value().get())) {
      layer.mode = drop->mode();
      drop->set_mode(DropMode::never);
    }
    report.layers.push_back(std::move(layer));
    m.value()->eval();
  }
  return report;
}

void keep_frozen(torch::nn::Module& module, const FreezeReport& report) {
  set_modes(module, report, [](const FrozenLayer&) { return false; });
}

void unfreeze(torch::nn::Module& module, const FreezeReport& report) {
  const auto parameters = module.named_parameters();
  for (const std::string& name : report.parameters) {
    const auto* found = parameters.find(name);
    check(found != nullptr, "weights", "report must belong to this model, got a parameter ", name, " that it lacks");
    torch::Tensor(*found).set_requires_grad(true);
  }
  set_modes(module, report, [](const FrozenLayer& layer) { return layer.was_training; });
  const auto modules = module.named_modules();
  for (const FrozenLayer& layer : report.layers) {
    if (auto* drop = dynamic_cast<DropLayer*>(modules[layer.name].get())) drop->set_mode(layer.mode);
  }
}

}  // namespace ballast
