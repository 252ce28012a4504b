#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <ballast/base/act.h>
#include <ballast/base/layer_role.h>

namespace ballast {

/// Options of layer_norm_2d and LayerNorm2d.
struct LayerNorm2dOptions {
  /// C, number of channels, >= 1. [fixed]
  int64_t num_channels = 0;
  /// Added to the variance, > 0.
  double eps = 1e-6;
  /// Learn gamma and beta. [fixed]
  bool affine = true;
  /// Fused: none, relu, relu6, leaky_relu, silu or hardswish; its parameter.
  Act act = Act::none;
  double act_a = 0.01;
};

/// Layer normalization of maps: the channels at each position, without a permuted copy.
///
///   y = act(gamma (x - mean) / sqrt(var + eps) + beta),   var biased
///
/// Shape    x: (N, C, ...). Result: the same shape, dtype and memory format. weight, bias: (C) or undefined.
/// Eval     as in training.
/// Numbers  as batch_norm.
/// Source   Ba et al. 2016, arXiv:1607.06450; over channels as in Liu et al. 2022, arXiv:2201.03545 (ConvNeXt).
/// Not      group norm of one group, whose statistics run over the positions too.
/// Errors   std::invalid_argument: `[layer_norm_2d] x must have 64 channels, got (8, 32, 4, 4)`.
torch::Tensor layer_norm_2d(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                            const LayerNorm2dOptions& options);

class LayerNorm2dImpl : public torch::nn::Cloneable<LayerNorm2dImpl>, public HasLayerRole {
 public:
  explicit LayerNorm2dImpl(LayerNorm2dOptions options);

  torch::Tensor forward(const torch::Tensor& x);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  LayerRole layer_role() const override { return LayerRole::norm; }

  LayerNorm2dOptions options;
  torch::Tensor weight, bias;
};
TORCH_MODULE(LayerNorm2d);

}  // namespace ballast
