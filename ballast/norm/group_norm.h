#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <ballast/base/act.h>
#include <ballast/base/layer_role.h>

namespace ballast {

/// Options of group_norm and GroupNorm.
struct GroupNormOptions {
  /// C, number of channels, >= 1. [fixed]
  int64_t num_channels = 0;
  /// G, a divisor of C.
  int64_t num_groups = 32;
  /// > 0: channels per group; then G = C / group_size.
  int64_t group_size = 0;
  /// Added to the variance, > 0.
  double eps = 1e-5;
  /// Learn gamma and beta. [fixed]
  bool affine = true;
  /// Fused: none, relu, relu6, leaky_relu, silu or hardswish; its parameter.
  Act act = Act::none;
  double act_a = 0.01;
};

/// Group normalization with a fused activation: groups of C / G channels and all positions, for each sample.
///
///   y = act(gamma (x - mean) / sqrt(var + eps) + beta),   var biased
///
/// Shape    x: (N, C, ...). Result: the same shape, dtype and memory format. weight, bias: (C) or undefined.
/// Eval     as in training.
/// Numbers  as batch_norm.
/// Source   Wu and He 2018, arXiv:1803.08494.
/// Not      layer_norm, which has a weight per element.
/// Errors   std::invalid_argument: `[group_norm] num_groups must divide channels, got 32 and 48`, `[group_norm] each group
///          must hold more than 1 value, got (4, 32, 1, 1) with 32 groups`.
torch::Tensor group_norm(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                         const GroupNormOptions& options);

/// The number of groups that `options` mean.
/// Errors: those of group_norm, as `[group_norm] group_size must divide channels, got 5 and 48`.
int64_t groups_of(const GroupNormOptions& options);

class GroupNormImpl : public torch::nn::Cloneable<GroupNormImpl>, public HasLayerRole {
 public:
  explicit GroupNormImpl(GroupNormOptions options);

  torch::Tensor forward(const torch::Tensor& x);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  LayerRole layer_role() const override { return LayerRole::norm; }

  GroupNormOptions options;
  torch::Tensor weight, bias;
};
TORCH_MODULE(GroupNorm);

}  // namespace ballast
