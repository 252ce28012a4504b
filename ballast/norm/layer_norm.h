#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <vector>

#include <ballast/base/act.h>
#include <ballast/base/layer_role.h>

namespace ballast {

/// Options of layer_norm and LayerNorm.
struct LayerNormOptions {
  /// The last dimensions of x, at least one. [fixed]
  std::vector<int64_t> shape;
  /// Added to the variance, > 0. timm uses 1e-6.
  double eps = 1e-5;
  /// Learn gamma, and with `bias` beta. [fixed]
  bool affine = true;
  bool bias = true;
  /// Fused: none, relu, relu6, leaky_relu, silu or hardswish; its parameter.
  Act act = Act::none;
  double act_a = 0.01;
};

/// Layer normalization: the last dimensions of x, for each index of the others.
///
///   y = act(gamma (x - mean) / sqrt(var + eps) + beta),   var biased; gamma and beta by element
///
/// Shape    x: (..., shape). Result: the same shape and dtype, contiguous. weight, bias: shape, or undefined.
/// Eval     as in training. A sample's bits do not depend on the others of its batch.
/// Numbers  as batch_norm.
/// Source   Ba et al. 2016, arXiv:1607.06450.
/// Not      layer_norm_2d, which is over the channels of a map.
/// Errors   std::invalid_argument: `[layer_norm] the last dimensions of x must be (64), got (8, 32)`.
torch::Tensor layer_norm(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                         const LayerNormOptions& options);

class LayerNormImpl : public torch::nn::Cloneable<LayerNormImpl>, public HasLayerRole {
 public:
  explicit LayerNormImpl(LayerNormOptions options);

  torch::Tensor forward(const torch::Tensor& x);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  LayerRole layer_role() const override { return LayerRole::norm; }

  LayerNormOptions options;
  torch::Tensor weight, bias;
};
TORCH_MODULE(LayerNorm);

}  // namespace ballast
