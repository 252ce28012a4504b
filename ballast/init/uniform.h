#pragma once

#include <torch/types.h>

#include <ballast/base/key.h>

namespace ballast {

/// Element i becomes a + (b - a) u_i, u_i = uniform(key, i); never rounded up to b.
///
/// Errors   std::invalid_argument `[uniform] a must be < b, got 1 and 0`.
torch::Tensor uniform_(torch::Tensor t, double a, double b, Key key);

}  // namespace ballast
