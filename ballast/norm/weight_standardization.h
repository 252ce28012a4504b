#pragma once

#include <ballast/base/act.h>
#include <ballast/norm/parametrization.h>

namespace ballast {

/// Weight standardization: each filter (all of w but dimension 0) gets mean 0 and variance 1.
///
///   w_hat = (w - mean) / sqrt(var + eps),   var biased
///
/// Shape    w: (out, ...), at least 2 values a filter. Result: w's shape.
/// Gradient dw = (G - mean(G) - w_hat mean(G w_hat)) / sqrt(var + eps)
/// Source   Qiao et al. 2019, arXiv:1903.10520 (StdConv2d, to be followed by group norm); Brock et al. 2021,
///          arXiv:2101.08692 (scaled_weight_standardization, ScaledStdConv2d, which need no norm).
/// Not      weight norm, which subtracts no mean.
/// Errors   std::invalid_argument `[weight_standardization] fan_in must be > 1, got 1`;
///          `[weight_standardization] eps must be > 0, got 0`; `[weight_standardization] w must have at least 2 dimensions,
///          got (8)`.
torch::Tensor weight_standardization(const torch::Tensor& w, double eps = 1e-6);

/// gain_c gain(act, variance) / sqrt(fan_in) times weight_standardization(w): a filter's result keeps the variance that its
/// input had before the activation. gain: one value a filter, of any shape.
torch::Tensor scaled_weight_standardization(const torch::Tensor& w, const torch::Tensor& gain, Act act, double eps = 1e-6);

/// What StdConv2d and ScaledStdConv2d do with their weight. [eps > 0]
struct WeightStandardizationOptions {
  double eps = 1e-6;
  /// Of ScaledStdConv2d: the activation before the layer.
  Act act = Act::relu;
};

/// A convolution with a standardized weight.
///
///   Names    weight, bias, as PyTorch's and timm's
///   remove() a plain torch::nn layer that holds the effective weight
class StdConv2dImpl : public torch::nn::Cloneable<StdConv2dImpl> {
 public:
  explicit StdConv2dImpl(Conv2dLayerOptions layer, WeightStandardizationOptions rule = {});
  torch::Tensor forward(const torch::Tensor& x);
  torch::Tensor effective_weight() const;
  std::shared_ptr<torch::nn::Conv2dImpl> remove() const;
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  Conv2dLayerOptions options;
  WeightStandardizationOptions rule_options;
  torch::Tensor weight, bias;
};
TORCH_MODULE(StdConv2d);

/// A convolution with a scaled standardized weight, and a learned gain for each filter.
///
///   Names    weight, gain (out, 1, 1, 1), bias, as timm's
class ScaledStdConv2dImpl : public torch::nn::Cloneable<ScaledStdConv2dImpl> {
 public:
  explicit ScaledStdConv2dImpl(Conv2dLayerOptions layer, WeightStandardizationOptions rule = {});
  torch::Tensor forward(const torch::Tensor& x);
  torch::Tensor effective_weight() const;
  std::shared_ptr<torch::nn::Conv2dImpl> remove() const;
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  Conv2dLayerOptions options;
  WeightStandardizationOptions rule_options;
  torch::Tensor weight, gain, bias;
};
TORCH_MODULE(ScaledStdConv2d);

}  // namespace ballast
