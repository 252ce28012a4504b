#pragma once

// The bodies of ReparametrizedLayerImpl, for the sources that instantiate it.

#include <ostream>
#include <type_traits>

#include <torch/nn/module.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include <ballast/norm/parametrization.h>

namespace ballast {

template <class LayerOptions, class P>
ReparametrizedLayerImpl<LayerOptions, P>::ReparametrizedLayerImpl(LayerOptions layer, RuleOptions rule)
    : options(layer), rule_options(rule) {
  reset();
}

template <class LayerOptions, class P>
void ReparametrizedLayerImpl<LayerOptions, P>::reset() {
  const std::vector<int64_t> shape = detail::weight_shape(options);
  torch::Tensor w = torch::empty(shape);
  detail::draw_plain_start(w, shape, options.key.fold_in("weight"));
  constexpr bool kTransposed = std::is_same_v<LayerOptions, ConvTranspose2dLayerOptions>;
  parametrizations = this->register_module("parametrizations", std::make_shared<P>(w, rule_options, kTransposed));
  if (options.bias) {
    bias = this->register_parameter("bias", torch::empty({detail::outputs_of(options)}));
    detail::draw_plain_start(bias, shape, options.key.fold_in("bias"));
  }
}

template <class LayerOptions, class P>
torch::Tensor ReparametrizedLayerImpl<LayerOptions, P>::forward(const torch::Tensor& x) {
  return parametrizations->after(detail::apply(options, x, parametrizations->compute(this->is_training()), bias), bias);
}

template <class LayerOptions, class P>
torch::Tensor ReparametrizedLayerImpl<LayerOptions, P>::weight() {
  return parametrizations->compute(false);
}

template <class LayerOptions, class P>
auto ReparametrizedLayerImpl<LayerOptions, P>::remove() -> std::shared_ptr<typename LayerOptions::Plain> {
  torch::NoGradGuard no_grad;
  auto layer = detail::plain_layer(options, weight(), bias);
  layer->train(this->is_training());
  return layer;
}

template <class LayerOptions, class P>
void ReparametrizedLayerImpl<LayerOptions, P>::pretty_print(std::ostream& stream) const {
  stream << P::kName << '(' << parametrizations->drawn().sizes() << (options.bias ? "" : ", no bias") << ')';
}

template <class LayerOptions, class P>
void ReparametrizedLayerImpl<LayerOptions, P>::load(torch::serialize::InputArchive& archive) {
  if (!parametrizations->load_old_names(archive)) {
    torch::nn::Module::load(archive);
    return;
  }
  torch::NoGradGuard no_grad;
  torch::Tensor b;
  if (options.bias) {
    archive.read("bias", b);
    bias.copy_(b);
  }
}

}  // namespace ballast
