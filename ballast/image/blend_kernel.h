#pragma once

#include <cstddef>

namespace ballast::detail {

/// out[i] = lam * a[i] + (1 - lam) * b[i] for i in [0, n), products and sum rounded apart. `out` may be `a` or `b`.
void blend(const float* a, const float* b, float lam, float* out, size_t n);
void blend_reference(const float* a, const float* b, float lam, float* out, size_t n);

}  // namespace ballast::detail
