#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <ballast/base/layer_role.h>

namespace ballast {

/// Options of Grn.
struct GrnOptions {
  /// C, number of channels, >= 1. [fixed]
  int64_t num_features = 0;
  /// Added to the mean of the channels' norms, > 0.
  double eps = 1e-6;
};

/// Global response normalization: channels of a sample compete by the size of their maps.
///
///   g_c = |x_c|  (Euclidean norm over the positions),   n_c = g_c / (mean_c g + eps)
///   y = gamma x n + beta + x
///
/// Shape    x: (N, C, ...), at least 2 dimensions. Result: the same shape, dtype and memory format. weight (gamma),
///          bias (beta): (C).
/// Eval     as in training. With gamma = beta = 0, the start, it is the identity.
/// Gradient D = mean_c g + eps, q_c = sum dy gamma x; dg_c = q_c / D - (sum_k q_k g_k) / (C D^2);
///          dx = dy (1 + gamma n) + dg x / g (0 where g is 0).
/// Source   Woo et al. 2023, arXiv:2301.00808 (ConvNeXt V2).
/// Not      a norm that bounds its result; it stands beside one.
/// Errors   std::invalid_argument `[grn] x must have 64 channels, got (8, 32, 4, 4)`; `[grn] eps must be > 0, got 0`.
torch::Tensor grn(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias, double eps = 1e-6);

/// Names: weight, bias, as timm's GlobalResponseNorm.
class GrnImpl : public torch::nn::Cloneable<GrnImpl>, public HasLayerRole {
 public:
  explicit GrnImpl(GrnOptions options);

  torch::Tensor forward(const torch::Tensor& x);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  LayerRole layer_role() const override { return LayerRole::norm; }

  GrnOptions options;
  torch::Tensor weight, bias;
};
TORCH_MODULE(Grn);

}  // namespace ballast
