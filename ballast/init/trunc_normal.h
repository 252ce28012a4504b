#pragma once

#include <torch/types.h>

#include <ballast/base/key.h>

namespace ballast {

/// Normal numbers within *absolute* bounds: mean + std z given a <= mean + std z <= b, by inversion of the distribution
/// in double, exact in both tails; rounded towards the inside in t's dtype.
///
/// With std 0.02 the usual bounds -2 and 2 never cut; trunc_normal_tf_ bounds z instead.
/// Errors   std::invalid_argument `[trunc_normal] std must be > 0, got 0`; `[trunc_normal] a must be < b, got 2 and 2`;
///          `[trunc_normal] [a, b] must hold some of the mass, got [100, 101], mean 0, std 1`.
torch::Tensor trunc_normal_(torch::Tensor t, double mean, double std, double a, double b, Key key);

/// mean + std z given a <= z <= b, as TensorFlow and JAX: with a = -2, b = 2 the result has 0.8796 std.
torch::Tensor trunc_normal_tf_(torch::Tensor t, double mean, double std, double a, double b, Key key);

}  // namespace ballast
