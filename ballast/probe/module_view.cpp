#include <ballast/probe/module_view.h>

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/nn/functional/instancenorm.h>  // LibTorch 1.13: modules/instancenorm.h needs it
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/instancenorm.h>
#include <torch/nn/modules/normalization.h>

#include <ATen/Context.h>

#include <mutex>

namespace ballast {
namespace {

template <class... Types>
bool is_one_of(const torch::nn::Module& module) {
  return ((dynamic_cast<const Types*>(&module) != nullptr) || ...);
}

std::optional<LayerRole> role_of(const torch::nn::Module& module) {
  namespace nn = torch::nn;
  if (const auto* layer = dynamic_cast<const HasLayerRole*>(&module)) return layer->layer_role();
  if (is_one_of<nn::BatchNorm1dImpl, nn::BatchNorm2dImpl, nn::BatchNorm3dImpl, nn::InstanceNorm1dImpl, nn::InstanceNorm2dImpl,
                nn::InstanceNorm3dImpl, nn::LayerNormImpl, nn::GroupNormImpl, nn::LocalResponseNormImpl>(module)) {
    return LayerRole::norm;
  }
  if (is_one_of<nn::DropoutImpl, nn::Dropout2dImpl, nn::Dropout3dImpl, nn::AlphaDropoutImpl, nn::FeatureAlphaDropoutImpl>(module)) {
    return LayerRole::drop;
  }
  return std::nullopt;
}

std::optional<LayerRole> role_of(const std::string& type) {
  const std::string name = type.substr(type.rfind('.') + 1);
  if (name.find("Dropout") != std::string::npos || name.find("DropPath") != std::string::npos) return LayerRole::drop;
  if (name.find("Norm") != std::string::npos) return LayerRole::norm;
  return std::nullopt;
}

std::string layer_of(const std::string& tensor) {
  const size_t dot = tensor.rfind('.');
  return dot == std::string::npos ? "" : tensor.substr(0, dot);
}

}  // namespace

ModuleView::ModuleView(torch::nn::Module& module) {
  for (const auto& p : module.named_parameters()) parameters_.push_back({p.key(), layer_of(p.key()), p.value()});
  for (const auto& b : module.named_buffers()) buffers_.push_back({b.key(), layer_of(b.key()), b.value()});
  const auto add = [this](const std::string& name, torch::nn::Module& layer) {
    // Only this layer's own flag: train() would also set its children's.
    layers_.push_back({name, role_of(layer), layer.name(), [&layer] { return layer.is_training(); },
                       [&layer](bool on) {
                         std::vector<std::pair<torch::nn::Module*, bool>> below;
                         for (const auto& child : layer.modules(/*include_self=*/false)) below.emplace_back(child.get(), child->is_training());
                         layer.train(on);
                         // Deepest last, so that a parent's call does not undo a child's.
                         for (const auto& [child, was] : below) child->train(was);
                       }});
  };
  add("", module);
  for (const auto& m : module.named_modules("", /*include_self=*/false)) add(m.key(), *m.value());
}

ModuleView::ModuleView(const torch::jit::Module& module) {
  for (const auto& p : module.named_parameters()) parameters_.push_back({p.name, layer_of(p.name), p.value});
  for (const auto& b : module.named_buffers()) buffers_.push_back({b.name, layer_of(b.name), b.value});
  for (const auto& m : module.named_modules()) {
    torch::jit::Module layer = m.value;
    const auto name = layer.type()->name();
    const std::string type = name ? name->qualifiedName() : "";
    layers_.push_back({m.name, role_of(type), type,
                       [layer] { return layer.hasattr("training") && layer.attr("training").toBool(); },
                       [layer](bool on) mutable {
                         if (layer.hasattr("training")) layer.setattr("training", on);
                       }});
  }
}

std::optional<LayerRole> ModuleView::role(const std::string& name) const {
  for (const Layer& layer : layers_) {
    if (layer.name == name) return layer.role;
  }
  return std::nullopt;
}

std::vector<std::string> ModuleView::layers(LayerRole role, const std::string& type) const {
  std::vector<std::string> names;
  for (const Layer& layer : layers_) {
    if (layer.role == role && layer.type.find(type) != std::string::npos) names.push_back(layer.name);
  }
  return names;
}

std::vector<bool> ModuleView::modes() const {
  std::vector<bool> modes;
  for (const Layer& layer : layers_) modes.push_back(layer.training());
  return modes;
}

void ModuleView::set_modes(const std::vector<bool>& modes) const {
  // Parents stand before their children.
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (layers_[i].training() != modes.at(i)) layers_[i].set_training(modes[i]);
  }
}

void ModuleView::set_training(bool drops) const {
  std::vector<bool> modes;
  for (const Layer& layer : layers_) modes.push_back(layer.role != LayerRole::drop || drops);
  set_modes(modes);
}

ProbeGuard::ProbeGuard(const ModuleView& view) : view_(view), modes_(view.modes()), optimized_(torch::jit::getGraphExecutorOptimize()) {
  torch::NoGradGuard no_grad;
  for (const ViewedTensor& b : view.buffers()) buffers_.push_back(b.value.defined() ? b.value.detach().clone() : torch::Tensor());
  at::Generator generator = at::globalContext().defaultGenerator(torch::kCPU);
  {
    const std::lock_guard<std::mutex> lock(generator.mutex());
    generator_ = generator.get_state();
  }
  // Operators inside fused regions cannot be seen and take no hooks.
  torch::jit::setGraphExecutorOptimize(false);
}

ProbeGuard::~ProbeGuard() {
  torch::NoGradGuard no_grad;
  for (size_t i = 0; i < buffers_.size(); ++i) {
    if (buffers_[i].defined()) view_.buffers()[i].value.copy_(buffers_[i]);
  }
  view_.set_modes(modes_);
  at::Generator generator = at::globalContext().defaultGenerator(torch::kCPU);
  {
    const std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(generator_);
  }
  torch::jit::setGraphExecutorOptimize(optimized_);
}

}  // namespace ballast
