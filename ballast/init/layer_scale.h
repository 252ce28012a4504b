#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

namespace ballast {

/// Options of LayerScale.
struct LayerScaleOptions {
  /// Channels, >= 1.
  int64_t dim = 0;
  /// gamma at the start; CaiT: 0.1 to 1e-6 by depth, ConvNeXt 1e-6.
  double init = 1e-5;
  /// Where the channels stand: -1 for tokens, 1 for (N, C, H, W).
  int64_t channel_dim = -1;
};

/// A learned number per channel at the end of a residual branch: y = gamma x, parameter `gamma` of shape (dim).
///
/// Shape    x with `dim` entries at channel_dim; eval as training. Takes no weight decay (one dimension).
/// Source   Touvron et al. 2021, arXiv:2103.17239. timm's name of the parameter.
/// Not      ScalarGate, which learns one number.
/// Errors   std::invalid_argument `[layer_scale] dim must be >= 1, got 0`;
///          `[layer_scale] x must have 64 channels, got (8, 32, 4, 4)`.
class LayerScaleImpl : public torch::nn::Cloneable<LayerScaleImpl> {
 public:
  explicit LayerScaleImpl(LayerScaleOptions options);
  torch::Tensor forward(const torch::Tensor& x) const;
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  LayerScaleOptions options;
  torch::Tensor gamma;
};
TORCH_MODULE(LayerScale);

}  // namespace ballast
