#pragma once

#include <cstdint>
#include <span>

namespace ballast {

struct FanOptions {
  int64_t groups = 1;
  bool transposed = false;
  /// Matrices stacked along the outputs: 3 for a fused query-key-value weight.
  int64_t stacked = 1;
};

struct Fans {
  double in, out;
};

/// Inputs and outputs per unit of a weight. rf = product of the kernel sizes:
///
///   convolution, linear (out, in/groups, k...)   in = d1 rf,          out = d0 rf / (groups stacked)
///   transposed          (in, out/groups, k...)   in = d0 rf / groups, out = d1 rf / stacked
///
/// Depthwise 64x1x3x3 with groups 64 gives (9, 9); PyTorch gives (9, 576).
/// Errors   std::invalid_argument `[fan] weight must have at least 2 dimensions, got (64)`;
///          `[fan] groups must divide dimension 0, got groups 3 and (64, 1, 3, 3)`.
Fans fans(std::span<const int64_t> weight_shape, FanOptions options = {});

}  // namespace ballast
