#pragma once

#include <torch/types.h>

#include <ballast/base/act.h>

// The norms by LibTorch's operators, differentiable any number of times: what the kernels are derived from where a
// gradient's own gradient is asked for. Half types compute in float32. Undefined parameters are left out.

namespace ballast::detail {

struct Fused {
  Act act = Act::none;
  double a = 0;
};

/// Training: statistics of x; else mean and var.
torch::Tensor composed_batch_norm(const torch::Tensor& x, const torch::Tensor& residual, const torch::Tensor& weight,
                                  const torch::Tensor& bias, const torch::Tensor& mean, const torch::Tensor& var,
                                  bool training, double eps, Fused fused);
torch::Tensor composed_group_norm(const torch::Tensor& x, int64_t groups, const torch::Tensor& weight,
                                  const torch::Tensor& bias, double eps, Fused fused);
/// Over the last `dims` dimensions; rms: nothing is subtracted.
torch::Tensor composed_layer_norm(const torch::Tensor& x, int64_t dims, const torch::Tensor& weight,
                                  const torch::Tensor& bias, double eps, bool rms, Fused fused);
/// Over dimension 1.
torch::Tensor composed_layer_norm_2d(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                     double eps, bool rms, Fused fused);

}  // namespace ballast::detail
