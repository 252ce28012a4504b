#pragma once

#include <torch/types.h>

#include <ballast/norm/composed.h>

// The operators on CPU tensors, by the kernels of this room. Work is cut by shapes only and partial sums are added in
// order, so the bits do not depend on the number of threads. Inputs are checked by the callers.

namespace ballast::detail {

struct ChannelNormResult {
  torch::Tensor y, mean, var, mask;  ///< mask: defined if asked for
};
struct ChannelNormGrads {
  torch::Tensor dx, dresidual, dweight, dbias;  ///< parameters: (C), or (0) where there is none
};

/// residual may be undefined; with it the result has a mask, one bit per element.
ChannelNormResult batch_norm_cpu(const torch::Tensor& x, const torch::Tensor& residual, const torch::Tensor& weight,
                                 const torch::Tensor& bias, const torch::Tensor& running_mean,
                                 const torch::Tensor& running_var, bool training, double eps, Fused fused);
/// mask: defined for the form with a residual.
ChannelNormGrads batch_norm_backward_cpu(const torch::Tensor& dy, const torch::Tensor& x, const torch::Tensor& mask,
                                         const torch::Tensor& weight, const torch::Tensor& bias,
                                         const torch::Tensor& mean, const torch::Tensor& var, bool training, double eps,
                                         Fused fused);

ChannelNormResult group_norm_cpu(const torch::Tensor& x, int64_t groups, const torch::Tensor& weight,
                                 const torch::Tensor& bias, double eps, Fused fused);
ChannelNormGrads group_norm_backward_cpu(const torch::Tensor& dy, const torch::Tensor& x, int64_t groups,
                                         const torch::Tensor& weight, const torch::Tensor& bias,
                                         const torch::Tensor& mean, const torch::Tensor& var, double eps, Fused fused);

/// Bytes of a mask for x; what the bits stand for depends on x's layout.
c10::SymInt mask_size(const torch::Tensor& x);
/// The slopes that a mask of x stands for: 1 at set bits, else a.
torch::Tensor slopes_of_mask(const torch::Tensor& mask, const torch::Tensor& x, double a);

struct FeatureNormResult {
  torch::Tensor y, mean, rstd;  ///< mean: empty for rms
};
/// dims > 0: over the last dims dimensions; 0: over dimension 1.
FeatureNormResult feature_norm_cpu(const torch::Tensor& x, int64_t dims, const torch::Tensor& weight,
                                   const torch::Tensor& bias, double eps, bool rms, Fused fused);
/// dx, dweight, dbias.
std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> feature_norm_backward_cpu(
    const torch::Tensor& dy, const torch::Tensor& x, int64_t dims, const torch::Tensor& weight,
    const torch::Tensor& bias, const torch::Tensor& mean, const torch::Tensor& rstd, double eps, bool rms, Fused fused);

}  // namespace ballast::detail
