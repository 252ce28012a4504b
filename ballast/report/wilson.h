#pragma once

#include <cstdint>

namespace ballast {

struct Interval {
  double low = 0, high = 0;
};

/// Wilson score interval of a share: `correct` of `n`.
///
///   (p + z^2/2n  +-  z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
///
/// n = 0 gives [0, 1]. Source: Wilson 1927. z = 1.96 for 95 %.
/// Errors   std::invalid_argument unless 0 <= correct <= n.
Interval wilson_interval(int64_t correct, int64_t n, double z = 1.959963984540054);

}  // namespace ballast
