#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <ballast/base/act.h>
#include <ballast/base/layer_role.h>

namespace ballast {

/// Options of FrozenBatchNorm.
struct FrozenBatchNormOptions {
  /// C, number of channels, >= 1. [fixed]
  int64_t num_features = 0;
  /// Added to the variance, > 0.
  double eps = 1e-5;
  /// Fused: none, relu, relu6, leaky_relu, silu or hardswish; its parameter.
  Act act = Act::none;
  double act_a = 0.01;
};

/// Batch norm with fixed statistics and parameters, for fine-tuning with small batches.
///
///   y = act(A x + B),   A = weight / sqrt(running_var + eps),  B = bias - running_mean A
///
/// Shape    x: (N, C, ...), at least 2 dimensions. Result: the same shape, dtype and memory format. The others: (C).
/// Eval     as in training; train() changes nothing.
/// Gradient to x only.
/// Source   detection models' practice; torchvision's FrozenBatchNorm2d.
/// Errors   those of batch_norm.
torch::Tensor frozen_batch_norm(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                const torch::Tensor& running_mean, const torch::Tensor& running_var,
                                const FrozenBatchNormOptions& options);

/// Names: weight, bias, running_mean, running_var, all buffers; a num_batches_tracked in a file is left aside.
class FrozenBatchNormImpl : public torch::nn::Cloneable<FrozenBatchNormImpl>, public HasLayerRole {
 public:
  explicit FrozenBatchNormImpl(FrozenBatchNormOptions options);

  torch::Tensor forward(const torch::Tensor& x);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  LayerRole layer_role() const override { return LayerRole::norm; }

  FrozenBatchNormOptions options;
  torch::Tensor weight, bias, running_mean, running_var;
};
TORCH_MODULE(FrozenBatchNorm);

}  // namespace ballast
