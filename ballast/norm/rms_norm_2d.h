#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <ballast/base/act.h>
#include <ballast/base/layer_role.h>

namespace ballast {

/// Options of rms_norm_2d and RmsNorm2d.
struct RmsNorm2dOptions {
  /// C, number of channels, >= 1. [fixed]
  int64_t num_channels = 0;
  /// Added to the mean square, > 0.
  double eps = 1e-6;
  /// Learn gamma. [fixed]
  bool affine = true;
  /// Fused: none, relu, relu6, leaky_relu, silu or hardswish; its parameter.
  Act act = Act::none;
  double act_a = 0.01;
};

/// Root mean square normalization of maps: the channels at each position, without a permuted copy.
///
///   y = act(gamma x / sqrt(mean(x^2) + eps))
///
/// Shape    x: (N, C, ...). Result: the same shape, dtype and memory format. weight: (C) or undefined.
/// Eval     as in training.
/// Numbers  as batch_norm.
/// Source   Zhang and Sennrich 2019, arXiv:1910.07467; over channels as timm's RmsNorm2d.
/// Not      layer_norm_2d: nothing is subtracted and there is no bias.
/// Errors   std::invalid_argument: `[rms_norm_2d] x must have 64 channels, got (8, 32, 4, 4)`.
torch::Tensor rms_norm_2d(const torch::Tensor& x, const torch::Tensor& weight, const RmsNorm2dOptions& options);

class RmsNorm2dImpl : public torch::nn::Cloneable<RmsNorm2dImpl>, public HasLayerRole {
 public:
  explicit RmsNorm2dImpl(RmsNorm2dOptions options);

  torch::Tensor forward(const torch::Tensor& x);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  LayerRole layer_role() const override { return LayerRole::norm; }

  RmsNorm2dOptions options;
  torch::Tensor weight;
};
TORCH_MODULE(RmsNorm2d);

}  // namespace ballast
