#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <vector>

#include <ballast/base/act.h>
#include <ballast/base/layer_role.h>

namespace ballast {

/// Options of rms_norm and RmsNorm.
struct RmsNormOptions {
  /// The last dimensions of x, at least one. [fixed]
  std::vector<int64_t> shape;
  /// Added to the mean square, > 0. PyTorch's default is the machine epsilon of x.
  double eps = 1e-6;
  /// Learn gamma. [fixed]
  bool affine = true;
  /// Fused: none, relu, relu6, leaky_relu, silu or hardswish; its parameter.
  Act act = Act::none;
  double act_a = 0.01;
};

/// Root mean square normalization: the last dimensions of x, for each index of the others.
///
///   y = act(gamma x / sqrt(mean(x^2) + eps));   gamma by element, multiplied before the only rounding
///
/// Shape    x: (..., shape). Result: the same shape and dtype, contiguous. weight: shape, or undefined.
/// Eval     as in training.
/// Numbers  as batch_norm.
/// Source   Zhang and Sennrich 2019, arXiv:1910.07467.
/// Not      layer_norm: nothing is subtracted and there is no bias.
/// Errors   std::invalid_argument: `[rms_norm] the last dimensions of x must be (64), got (8, 32)`.
torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& weight, const RmsNormOptions& options);

class RmsNormImpl : public torch::nn::Cloneable<RmsNormImpl>, public HasLayerRole {
 public:
  explicit RmsNormImpl(RmsNormOptions options);

  torch::Tensor forward(const torch::Tensor& x);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  LayerRole layer_role() const override { return LayerRole::norm; }

  RmsNormOptions options;
  torch::Tensor weight;
};
TORCH_MODULE(RmsNorm);

}  // namespace ballast
