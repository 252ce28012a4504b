#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <functional>
#include <utility>

#include <ballast/norm/norm.h>

namespace ballast {

/// A layer other than LibTorch's own that a norm can be folded into: y = W * x + b, a channel of y for each row of W.
struct FoldableLayer {
  virtual ~FoldableLayer() = default;
  /// W and b (undefined: 0), as now in use.
  virtual std::pair<torch::Tensor, torch::Tensor> weight_and_bias() = 0;
  /// Puts plain values in their place.
  virtual void set_weight_and_bias(const torch::Tensor& weight, const torch::Tensor& bias) = 0;
};

/// A batch norm in evaluation mode as part of the layer before it:
///
///   s = gamma / sqrt(running_var + eps);   W <- s W along the outputs,   b <- (b - running_mean) s + beta
///
/// The norm becomes kind none and keeps its activation. For inference; the function is the same up to rounding. Norm
/// then layer is not folded: it is not the same where the layer pads with zeros.
/// layer    torch::nn::Conv1d, 2d, 3d, ConvTranspose1d, 2d, 3d, Linear, or a FoldableLayer. A missing bias is added.
/// norm     kind batch, sync or split in evaluation mode, or frozen.
/// Errors   std::invalid_argument `[fold] norm must be in eval mode, got training`; `[fold] channels must match, got 64
///          and 32`; `[fold] layer must be a convolution or linear, got torch::nn::ReLUImpl`; `[fold] norm must be a batch
///          norm, got group`. Nothing is changed then.
void fold_(torch::nn::Module& layer, NormImpl& norm);

/// Folds every batch norm whose input is the result of a convolution or linear layer and is read by nobody else, both used
/// once; which these are is seen in one forward pass of x, in evaluation mode, without gradients. Returns their number.
///
/// Errors   `[fold] norm must be in eval mode, got training` (the model's mode); what forward throws.
int64_t fold_model_(torch::nn::Module& model, const std::function<torch::Tensor(const torch::Tensor&)>& forward,
                    const torch::Tensor& x);

}  // namespace ballast
