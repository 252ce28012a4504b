#pragma once

#include <torch/types.h>

#include <array>

namespace ballast::ops {

/// at::conv2d with the same bits for any number of threads, in its result and all gradients.
///
/// On the CPU LibTorch's and oneDNN's sums over the batch, in the gradients of weight and bias, are cut by the number of threads.
/// The gradients are computed here in pieces of the batch, each on one thread, those of weight and bias added in order. The result is
/// LibTorch's own: oneDNN cuts no sum for it, and whether it is used is not left to the number of threads.
///
/// Autocast, observers, other devices and types, gradients of gradients: as at::conv2d.
torch::Tensor conv2d(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias, std::array<int64_t, 2> stride,
                     std::array<int64_t, 2> padding, std::array<int64_t, 2> dilation = {1, 1}, int64_t groups = 1);

}  // namespace ballast::ops
