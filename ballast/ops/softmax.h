#pragma once

#include <torch/types.h>

namespace ballast::ops {

/// at::softmax over the last dimension, with the same bits for any number of threads in its gradient too (LibTorch 2.13
/// computes rows of it in groups that depend on the threads).
///
/// Autocast, observers, other devices, gradients of gradients: as at::softmax.
torch::Tensor softmax(const torch::Tensor& x);

}  // namespace ballast::ops
