#pragma once

#include <torch/types.h>

namespace ballast::ops {

/// at::linear with the same bits for any number of threads, in its result and all gradients: the product is computed in pieces
/// of the rows, the gradient of the weight in pieces of the outputs, each on one thread. No sum is cut.
///
/// Autocast, observers, other devices and types, gradients of gradients: as at::linear.
torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias = {});

}  // namespace ballast::ops
