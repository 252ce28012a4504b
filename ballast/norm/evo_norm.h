#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <ballast/base/layer_role.h>

namespace ballast {

/// Options of evo_norm_b0 and EvoNormB0.
struct EvoNormB0Options {
  /// C, number of channels, >= 1. [fixed]
  int64_t num_features = 0;
  /// Added to the variances, > 0.
  double eps = 1e-5;
  /// Weight of the new value in the running variance, in [0, 1].
  double momentum = 0.1;
  /// With v, that is with the nonlinearity; else y = gamma x / sqrt(var_batch + eps) + beta. [fixed]
  bool nonlinear = true;
};

/// Options of evo_norm_s0 and EvoNormS0.
struct EvoNormS0Options {
  /// C, number of channels, >= 1. [fixed]
  int64_t num_features = 0;
  /// A divisor of C.
  int64_t num_groups = 32;
  /// Added to the variance, > 0.
  double eps = 1e-5;
  /// With v, that is with the nonlinearity; else y = gamma x / sqrt(var_group + eps) + beta. [fixed]
  bool nonlinear = true;
};

struct EvoNormB0Result {
  torch::Tensor y, var;  ///< var: (C), biased, without gradient; of evaluation the running variance
};

/// EvoNorm-B0, normalization and activation in one, found by search; no activation is put after it.
///
///   y = gamma x / max(sqrt(var_batch + eps), v x + sqrt(var_inst + eps)) + beta
///
///   var_batch: biased variance of the channel over batch and positions; var_inst: over the positions of one sample
///
/// Shape    x: (N, C, ...), at least 2 dimensions. Result: the same shape, dtype and memory format. weight (gamma), bias
///          (beta), v: (C); v undefined: no nonlinearity.
/// Eval     training false: running_var in the place of var_batch.
/// Source   Liu et al. 2020, arXiv:2004.02967.
/// Not      centered: no mean is subtracted.
/// Errors   std::invalid_argument `[evo_norm] x must have 64 channels, got (8, 32, 4, 4)`;
///          `[evo_norm] x must have more than 1 value per channel in training, got (1, 64, 1, 1)`.
EvoNormB0Result evo_norm_b0(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                            const torch::Tensor& v, const torch::Tensor& running_var, bool training, double eps = 1e-5);

/// EvoNorm-S0: the same of one sample; also without a batch.
///
///   y = gamma x sigmoid(v x) / sqrt(var_group + eps) + beta,   var_group: biased, of C / groups channels and all positions
///
/// Eval     as in training.
/// Errors   `[evo_norm] num_groups must divide channels, got 32 and 48`;
///          `[evo_norm] each group must hold more than 1 value, got (4, 32, 1, 1) with 32 groups`.
torch::Tensor evo_norm_s0(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                          const torch::Tensor& v, int64_t num_groups, double eps = 1e-5);

/// Names: weight, bias, v, running_var, as timm's EvoNorm2dB0. Training: running_var <- (1 - momentum) running_var +
/// momentum var M / (M - 1).
class EvoNormB0Impl : public torch::nn::Cloneable<EvoNormB0Impl>, public HasLayerRole {
 public:
  explicit EvoNormB0Impl(EvoNormB0Options options);

  torch::Tensor forward(const torch::Tensor& x);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  LayerRole layer_role() const override { return LayerRole::norm; }

  EvoNormB0Options options;
  torch::Tensor weight, bias, v, running_var;
};
TORCH_MODULE(EvoNormB0);

/// Names: weight, bias, v, as timm's EvoNorm2dS0.
class EvoNormS0Impl : public torch::nn::Cloneable<EvoNormS0Impl>, public HasLayerRole {
 public:
  explicit EvoNormS0Impl(EvoNormS0Options options);

  torch::Tensor forward(const torch::Tensor& x);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  LayerRole layer_role() const override { return LayerRole::norm; }

  EvoNormS0Options options;
  torch::Tensor weight, bias, v;
};
TORCH_MODULE(EvoNormS0);

namespace detail {
/// A module's forward: evo_norm_b0 and, while training, the update of running_var.
torch::Tensor evo_norm_b0_tracked(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                  const torch::Tensor& v, torch::Tensor running_var, bool training, double momentum,
                                  double eps);
}  // namespace detail

}  // namespace ballast
