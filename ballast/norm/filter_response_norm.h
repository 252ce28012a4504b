#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <ballast/base/layer_role.h>

namespace ballast {

/// Options of FilterResponseNorm.
struct FilterResponseNormOptions {
  /// C, number of channels, >= 1. [fixed]
  int64_t num_features = 0;
  /// Added to the mean square, > 0.
  double eps = 1e-6;
  /// Learn a further amount of eps, |e|, one value that starts at 1e-4: for maps of 1x1, where the mean square is that of
  /// a single value. [fixed]
  bool learn_eps = false;
  /// End in max(., tau), tau learned, one value a channel that starts at 0; no activation is put after it. [fixed]
  bool tlu = true;
};

/// Filter response normalization: each channel of each sample by its root mean square, with a thresholded linear unit.
///
///   y = max(gamma x r + beta, tau),   r = 1 / sqrt(mean x^2 + eps + |e|),   the mean over the positions
///
/// Shape    x: (N, C, ...), at least 2 dimensions. Result: the same shape, dtype and memory format.
///          weight (gamma), bias (beta), tau: (C); bias, tau and e may be undefined: 0, no maximum, 0.
/// Eval     as in training.
/// Gradient dx = r (h - x r^2 mean(h x)), h = dy gamma where the result is above tau, else 0; dtau = sum of dy elsewhere.
/// Source   Singh and Krishnan 2019, arXiv:1911.09737.
/// Not      instance norm: no mean is subtracted.
/// Errors   std::invalid_argument `[filter_response_norm] x must have 64 channels, got (8, 32, 4, 4)`;
///          `[filter_response_norm] eps must be > 0, got 0`.
torch::Tensor filter_response_norm(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                   const torch::Tensor& tau, const torch::Tensor& e, double eps);

/// Names: weight, bias, tau, eps, as timm's FilterResponseNormTlu2d.
class FilterResponseNormImpl : public torch::nn::Cloneable<FilterResponseNormImpl>, public HasLayerRole {
 public:
  explicit FilterResponseNormImpl(FilterResponseNormOptions options);

  torch::Tensor forward(const torch::Tensor& x);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  LayerRole layer_role() const override { return LayerRole::norm; }

  FilterResponseNormOptions options;
  torch::Tensor weight, bias, tau, eps;
};
TORCH_MODULE(FilterResponseNorm);

}  // namespace ballast
