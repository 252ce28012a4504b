#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <optional>

#include <ballast/base/act.h>
#include <ballast/base/layer_role.h>

namespace ballast {

/// Options of instance_norm and InstanceNorm.
struct InstanceNormOptions {
  /// C, number of channels, >= 1. [fixed]
  int64_t num_features = 0;
  /// Added to the variance, > 0.
  double eps = 1e-5;
  /// Of the running statistics, in [0, 1]; none: the plain mean over all batches.
  std::optional<double> momentum = 0.1;
  /// Learn gamma and beta. [fixed]
  bool affine = false;
  /// Keep running statistics and use them in evaluation. [fixed]
  bool track_running_stats = false;
  /// Fused: none, relu, relu6, leaky_relu, silu or hardswish; its parameter.
  Act act = Act::none;
  double act_a = 0.01;
};

/// Instance normalization with a fused activation: all positions of each sample and channel.
///
///   y = act(gamma (x - mean) / sqrt(var + eps) + beta),   var biased
///
/// Shape    x: (N, C, d1, ...). Result: the same shape, dtype and memory format. weight, bias: (C) or undefined.
/// Eval     as in training; InstanceNorm with running statistics: batch norm's evaluation with them.
/// Numbers  as batch_norm.
/// Running  InstanceNorm, training: as batch norm's, stat the means over the samples of mean and of unbiased variance.
/// Source   Ulyanov et al. 2016, arXiv:1607.08022.
/// Not      for classifiers that need contrast: it removes it.
/// Errors   std::invalid_argument: `[instance_norm] x must have more than 1 position in training, got (2, 3, 1, 1)`.
torch::Tensor instance_norm(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                            const InstanceNormOptions& options);

class InstanceNormImpl : public torch::nn::Cloneable<InstanceNormImpl>, public HasLayerRole {
 public:
  explicit InstanceNormImpl(InstanceNormOptions options);

  torch::Tensor forward(const torch::Tensor& x);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  LayerRole layer_role() const override { return LayerRole::norm; }

  InstanceNormOptions options;
  torch::Tensor weight, bias, running_mean, running_var, num_batches_tracked;
};
TORCH_MODULE(InstanceNorm);

}  // namespace ballast
