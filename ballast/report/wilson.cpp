#include "wilson.h"

#include <algorithm>
#include <cmath>

#include <ballast/base/check.h>

namespace ballast {

Interval wilson_interval(int64_t correct, int64_t n, double z) {
  check(correct >= 0 && correct <= n, "wilson", "0 <= correct <= n is required, got ", correct,
        " of ", n);
  if (n == 0) {
    return {0, 1};
  }
  auto count = static_cast<double>(n);
  double p = static_cast<double>(correct) / count;
  double middle = p + z * z / (2 * count);
  double spread = z * std::sqrt(p * (1 - p) / count + z * z / (4 * count * count));
  double scale = 1 + z * z / count;
  // At 0 and n the bound is exact; rounding must not move it.
  return {correct == 0 ? 0 : std::max(0.0, (middle - spread) / scale),
          correct == n ? 1 : std::min(1.0, (middle + spread) / scale)};
}

}  // namespace ballast
