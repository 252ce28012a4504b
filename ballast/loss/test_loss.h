#pragma once

// Helpers of the room's tests.

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace ballast::test {

/// Values without a pattern in (-3, 3), the same each time.
inline torch::Tensor draw(const std::vector<int64_t>& shape, double phase = 0) {
  int64_t n = 1;
  for (int64_t s : shape) n *= s;
  return (torch::arange(n, torch::kDouble) * 12.9898 + phase).sin().mul(3).reshape(shape);
}

}  // namespace ballast::test
