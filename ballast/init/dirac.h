#pragma once

#include <torch/types.h>

namespace ballast {

/// A convolution that begins as the identity on as many channels as fit: w[g out_g + d, d, centre] = 1 for
/// d < min(out_g, in_g) in each group g, out_g = out / groups, centre k/2 on each axis; 0 elsewhere.
///
/// Shape    w: (out, in / groups, k...) with 1, 2 or 3 kernel sizes.
/// Errors   std::invalid_argument `[dirac] weight must have 3, 4 or 5 dimensions, got (16, 16)`;
///          `[dirac] groups must divide dimension 0, got groups 3 and (64, 8, 3, 3)`.
torch::Tensor dirac_(torch::Tensor w, int64_t groups = 1);

}  // namespace ballast
