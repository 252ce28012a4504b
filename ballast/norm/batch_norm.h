#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <optional>

#include <ballast/base/act.h>
#include <ballast/base/layer_role.h>

namespace ballast {

/// What batch norm does in training with one value per channel (a last batch of one picture whose maps are 1x1).
enum class SingleValue { error, running_stats };

/// Options of batch_norm, batch_norm_add and BatchNorm.
struct BatchNormOptions {
  /// C, number of channels, >= 1. [fixed]
  int64_t num_features = 0;
  /// Added to the variance, > 0.
  double eps = 1e-5;
  /// Weight of the new value in running statistics, in [0, 1]; none: the plain mean over all batches.
  std::optional<double> momentum = 0.1;
  /// Learn gamma and beta. [fixed]
  bool affine = true;
  /// Keep running statistics; without them evaluation uses those of the batch, too. [fixed]
  bool track_running_stats = true;
  /// Fused: none, relu, relu6, leaky_relu, silu or hardswish (batch_norm_add: not the last two); its parameter.
  Act act = Act::none;
  double act_a = 0.01;
  /// k > 0: groups of k rows are normalized alone while training (ghost batches, arXiv:1705.08741); a last group with
  /// one value per channel joins the one before.
  int64_t ghost = 0;
  SingleValue single = SingleValue::error;
};

/// y, and the statistics that it was made with: float64, (C), var biased. Where groups (ghost) were normalized alone, the
/// pooled ones. Of evaluation: the running statistics.
struct BatchNormResult {
  torch::Tensor y, mean, var;
};

/// Batch normalization with a fused activation: each channel over the batch and all positions.
///
///   y = act(gamma (x - mean) / sqrt(var + eps) + beta),   var biased
///
/// Shape    x: (N, C) to (N, C, d1, d2, d3). Result: the same shape, dtype and memory format. weight, bias: (C) or undefined
///          (1 and 0). running_mean, running_var: (C) or both undefined.
/// Eval     training false: the running statistics instead of the batch's.
/// Numbers  float64, float32, bfloat16, float16; sums in float32 and float64, parameters may be float32 under half types.
///          Same bits for any number of threads. The gradient recomputes the activation's slope from x.
/// Empty    no rows: y empty, mean 0, var 0.
/// Source   Ioffe and Szegedy 2015, arXiv:1502.03167.
/// Not      an update of running statistics: the function returns what to store; BatchNorm and Norm do it.
/// Errors   std::invalid_argument, as `[batch_norm] x must have more than 1 value per channel in training, got (1, 64, 1, 1)`,
///          `[batch_norm] eval needs running statistics, got none`.
BatchNormResult batch_norm(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                           const torch::Tensor& running_mean, const torch::Tensor& running_var, bool training,
                           const BatchNormOptions& options);

/// y = act(batch_norm(x) + residual): the end of a residual block. Keeps one bit per element for the gradient, not y.
///
/// Errors   those of batch_norm; `[batch_norm] residual must have the shape of x, got (8, 64, 4, 4) and (8, 32, 4, 4)`.
BatchNormResult batch_norm_add(const torch::Tensor& x, const torch::Tensor& residual, const torch::Tensor& weight,
                               const torch::Tensor& bias, const torch::Tensor& running_mean,
                               const torch::Tensor& running_var, bool training, const BatchNormOptions& options);

/// The running statistics of one batch norm; a module's buffers.
struct RunningStats {
  torch::Tensor mean, var, num_batches_tracked;
};

/// A module's forward: batch_norm, or batch_norm_add where residual is defined, and while training
///
///   num_batches_tracked += 1;  running <- (1 - momentum) running + momentum stat,   stat: mean, unbiased var M / (M - 1)
///
/// momentum none: 1 / num_batches_tracked. Empty x updates nothing, nor does one value per channel with
/// SingleValue::running_stats.
torch::Tensor batch_norm_tracked(const torch::Tensor& x, const torch::Tensor& residual, const torch::Tensor& weight,
                                 const torch::Tensor& bias, const RunningStats& running, bool training,
                                 const BatchNormOptions& options);

/// Batch norm as a module, for any number of positions: PyTorch's BatchNorm1d, 2d and 3d in one, with their names in
/// the state dict. Formula and errors: batch_norm.
class BatchNormImpl : public torch::nn::Cloneable<BatchNormImpl>, public HasLayerRole {
 public:
  explicit BatchNormImpl(BatchNormOptions options);

  torch::Tensor forward(const torch::Tensor& x);
  /// act(norm(x) + residual).
  torch::Tensor forward_add(const torch::Tensor& x, const torch::Tensor& residual);

  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  LayerRole layer_role() const override { return LayerRole::norm; }

  BatchNormOptions options;
  torch::Tensor weight, bias, running_mean, running_var, num_batches_tracked;
};
TORCH_MODULE(BatchNorm);

}  // namespace ballast
