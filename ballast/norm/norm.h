#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>

#include <ballast/base/act.h>
#include <ballast/base/layer_role.h>
#include <ballast/norm/batch_norm.h>
#include <ballast/norm/catalog.h>
#include <ballast/norm/sync_batch_norm.h>

namespace ballast {

/// Options of Norm.
struct NormOptions {
  NormKind kind = NormKind::batch;
  /// C, number of channels, >= 1.
  int64_t channels = 0;
  /// Of kinds group and evo_s0: number of groups, a divisor of C; 0: the largest divisor up to 32.
  int64_t groups = 0;
  /// Of kind split: the equal parts of a batch, >= 2.
  int64_t splits = 2;
  /// The activation applied to the result, and its parameter.
  Act act = Act::none;
  double act_a = 0.01;
  /// Added to the variance, > 0.
  double eps = 1e-5;
  /// Of kinds batch, sync, split (and evo_b0: momentum, not none): as in BatchNormOptions.
  std::optional<double> momentum = 0.1;
  int64_t ghost = 0;
  SingleValue single = SingleValue::error;
  /// Where the channels of x stand: 1 for (N, C, ...), -1 for tokens (N, L, C) and for (N, C).
  int64_t channel_dim = 1;
  /// Of kind none: x is used by nobody else (as a convolution's output), so act may overwrite it.
  bool overwrite_input = false;

  friend bool operator==(const NormOptions&, const NormOptions&) = default;
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
///   frozen    fixed statistics; weight and bias are buffers
///   sync      as batch, over all processes of `gather`; without one as batch
///   split     as batch, for each of `splits` parts of the rows while training, with parameters of its own
///   frn       mean square of the positions of each sample and channel. Its threshold stands in the place of act, which
///             only says whether there is one (not none); forward_add: after the sum
///   evo_b0    batch and positions; evo_s0: group and positions. With act not none the nonlinear form, and no
///             activation after it; forward_add: the sum of that and the residual
///
/// Delegates to the stems batch_norm, frozen_batch_norm, sync_batch_norm, split_batch_norm, filter_response_norm,
/// evo_norm, group_norm, layer_norm, layer_norm_2d, instance_norm, rms_norm, rms_norm_2d.
///
/// Shape    x: (N, C), (N, C, d1, ...) with channel_dim 1; (N, C), (N, L, C) with channel_dim -1. Result: same shape,
///          dtype and memory format. group and batch over tokens take each token as a sample.
/// Act      of those that norms fuse (norm headers) it is part of the norm; others are applied to its result.
/// Running  batch, training: running <- (1 - momentum) running + momentum stat, stat the mean and the unbiased
///          variance; num_batches_tracked += 1.
/// Names    weight, bias (rms, rms_2d: none), running_mean, running_var, num_batches_tracked, as PyTorch's; frn: tau;
///          evo: v; split: aux_bn.0.weight, ..., as timm's.
/// Source   Ioffe and Szegedy 2015, arXiv:1502.03167; Wu and He 2018, arXiv:1803.08494; Ba et al. 2016,
///          arXiv:1607.06450; Ulyanov et al. 2016, arXiv:1607.08022.
/// Errors   std::invalid_argument: wrong options; x with other channels; one value per statistic, as
///          `[batch_norm] x must have more than 1 value per channel in training, got (1, 64, 1, 1)`.
class NormImpl : public torch::nn::Cloneable<NormImpl>, public HasLayerRole {
 public:
  explicit NormImpl(NormOptions options);

  torch::Tensor forward(const torch::Tensor& x);
  /// act(scale norm(x) + residual): the end of a residual block. residual: the shape of x.
  torch::Tensor forward_add(const torch::Tensor& x, const torch::Tensor& residual, double scale = 1);
  /// The same in two steps, where something stands between: activate_sum(forward_branch(x) + residual). With overwrite,
  /// y is used by nobody else.
  torch::Tensor forward_branch(const torch::Tensor& x);
  torch::Tensor activate_sum(const torch::Tensor& y, bool overwrite);
  /// activate_sum leaves its own results as they are, as ReLU does.
  bool activation_is_idempotent() const;

  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  LayerRole layer_role() const override { return LayerRole::norm; }

  /// Becomes a norm of other options (the same channels), in place. What both have (by name, aux_bn.* too) stays the
  /// same tensor, or takes the one in `tensors`; what the new kind lacks is let go; what is new starts as in a new norm,
  /// the further parts of split as copies of the first.
  void become(const NormOptions& to, const std::map<std::string, torch::Tensor>& tensors = {});

  NormOptions options;
  /// Of kind sync: the processes. A clone shares it.
  std::shared_ptr<Gather> gather;
  torch::Tensor weight, bias, running_mean, running_var, num_batches_tracked, tau, v;

 private:
  // The tensor that is registered under a name, given the one of a new norm.
  using Adopt = std::function<torch::Tensor(const char* name, const torch::Tensor& fresh)>;
  NormImpl(NormOptions options, const Adopt& adopt);
  void register_all(const Adopt& adopt);
  torch::Tensor split(const torch::Tensor& x, Act act);
  torch::Tensor normalize(const torch::Tensor& x, const torch::Tensor& residual, Act act, double scale = 1);
  bool may_overwrite(const torch::Tensor& x) const;
};
TORCH_MODULE(Norm);

}  // namespace ballast
