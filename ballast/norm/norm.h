#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <ballast/base/act.h>
#include <ballast/base/layer_role.h>
#include <ballast/norm/batch_norm.h>
#include <ballast/norm/catalog.h>

namespace ballast {

/// Options of Norm.
struct NormOptions {
  NormKind kind = NormKind::batch;
  /// C, number of channels, >= 1.
  int64_t channels = 0;
  /// Of kind group: number of groups, a divisor of C; 0: the largest divisor up to 32.
  int64_t groups = 0;
  /// The activation applied to the result, and its parameter.
  Act act = Act::none;
  double act_a = 0.01;
  /// Added to the variance, > 0.
  double eps = 1e-5;
  /// Of kind batch: as in BatchNormOptions.
  std::optional<double> momentum = 0.1;
  int64_t ghost = 0;
  SingleValue single = SingleValue::error;
  /// Where the channels of x stand: 1 for (N, C, ...), -1 for tokens (N, L, C) and for (N, C).
  int64_t channel_dim = 1;
  /// Of kind none: x is used by nobody else (as a convolution's output), so act may overwrite it.
  bool overwrite_input = false;
};

/// The one holder of a normalization: y = act(gamma (x - mean) / sqrt(var + eps) + beta), var biased.
///
///   kind      mean and var over
///   none      y = act(x); no parameters
///   batch     (N, positions) for each channel; in eval mode the running statistics
///   group     (C / groups, positions) for each sample and group
///   layer     (C, positions) for each sample; for tokens (channel_dim -1): C at each position
///   layer_2d  C for each sample and position
///   instance  positions for each sample and channel
///   rms       as layer, rms_2d as layer_2d, with mean 0 instead of the mean and without beta
///
/// Delegates to the stems batch_norm, group_norm, layer_norm, layer_norm_2d, instance_norm, rms_norm, rms_norm_2d.
///
/// Shape    x: (N, C), (N, C, d1, ...) with channel_dim 1; (N, C), (N, L, C) with channel_dim -1. Result: same shape,
///          dtype and memory format. group and batch over tokens take each token as a sample.
/// Act      of those that norms fuse (norm headers) it is part of the norm; others are applied to its result.
/// Running  batch, training: running <- (1 - momentum) running + momentum stat, stat the mean and the unbiased
///          variance; num_batches_tracked += 1.
/// Names    weight, bias (rms, rms_2d: none), running_mean, running_var, num_batches_tracked, as PyTorch's.
/// Source   Ioffe and Szegedy 2015, arXiv:1502.03167; Wu and He 2018, arXiv:1803.08494; Ba et al. 2016,
///          arXiv:1607.06450; Ulyanov et al. 2016, arXiv:1607.08022.
/// Errors   std::invalid_argument: wrong options; x with other channels; one value per statistic, as
///          `[batch_norm] x must have more than 1 value per channel in training, got (1, 64, 1, 1)`.
class NormImpl : public torch::nn::Cloneable<NormImpl>, public HasLayerRole {
 public:
  explicit NormImpl(NormOptions options);

  torch::Tensor forward(const torch::Tensor& x);
  /// act(norm(x) + residual): the end of a residual block. residual: the shape of x.
  torch::Tensor forward_add(const torch::Tensor& x, const torch::Tensor& residual);

  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  LayerRole layer_role() const override { return LayerRole::norm; }

  NormOptions options;
  torch::Tensor weight, bias, running_mean, running_var, num_batches_tracked;

 private:
  torch::Tensor normalize(const torch::Tensor& x, const torch::Tensor& residual, Act act);
  bool may_overwrite(const torch::Tensor& x) const;
};
TORCH_MODULE(Norm);

}  // namespace ballast
