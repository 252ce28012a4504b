#pragma once

#include <torch/types.h>

#include <ballast/base/act.h>

namespace ballast::ops {

/// The activation, with the same bits for any number of threads. LibTorch computes the last values of each thread's share one
/// by one, where exp has other bits than in a vector; here the shares do not depend on the threads.
/// act: elu (with a), selu, gelu, gelu_tanh, silu, mish, sigmoid or softplus; the others need no remedy and stay LibTorch's.
///
/// Observers, other devices, gradients of gradients: as LibTorch's.
torch::Tensor activation(const torch::Tensor& x, Act act, double a = 1);

}  // namespace ballast::ops
