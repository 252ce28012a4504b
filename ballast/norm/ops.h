#pragma once

#include <torch/types.h>

#include <tuple>

#include <ballast/norm/composed.h>

// Calls of the operators ballast::batch_norm ... through the dispatcher. Inputs are checked by the callers.

namespace ballast::detail {

/// y, mean, var (biased; float64).
std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> batch_norm_op(
    const torch::Tensor& x, const torch::Tensor& residual, const torch::Tensor& weight, const torch::Tensor& bias,
    const torch::Tensor& running_mean, const torch::Tensor& running_var, bool training, double eps, Fused fused);
/// y, mean, var of each (sample, group); float64.
std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> group_norm_op(
    const torch::Tensor& x, int64_t groups, const torch::Tensor& weight, const torch::Tensor& bias, double eps, Fused fused);
torch::Tensor layer_norm_op(const torch::Tensor& x, int64_t dims, const torch::Tensor& weight, const torch::Tensor& bias,
                            double eps, bool rms, Fused fused);
torch::Tensor layer_norm_2d_op(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias, double eps,
                               bool rms, Fused fused);

}  // namespace ballast::detail
