#pragma once

#include <torch/types.h>

#include <ballast/base/key.h>

namespace ballast {

/// A convolution that begins as a multiplication by an orthogonal matrix: 0 but for the centre tap, k/2 on each axis, which
/// is gain Q with Q^T Q = I (Q: out x in channels, Haar-distributed, the draws of orthogonal_). With circular padding it
/// keeps the norm of every input; with zero padding and odd kernels too.
///
/// Shape    w: (out, in, k...) with 1, 2 or 3 kernel sizes; ungrouped.
/// Source   Xiao et al. 2018, arXiv:1806.05393. TensorFlow centres even kernels at (k - 1)/2.
/// Errors   std::invalid_argument `[delta_orthogonal] weight must have 3, 4 or 5 dimensions, got (16, 16)`;
///          `[delta_orthogonal] out channels must be >= in channels, got 16 and 32`.
torch::Tensor delta_orthogonal_(torch::Tensor w, double gain, Key key);

}  // namespace ballast
