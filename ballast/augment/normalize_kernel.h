#pragma once

#include <cstddef>
#include <cstdint>

namespace ballast::detail {

/// One row of w pixels of c interleaved bytes to floats: y = x * a[channel] + b[channel], product and sum rounded
/// apart. `flip` mirrors the row. plane == 0: interleaved as the input; else channel j goes to out + j * plane.
/// c is 1, 3 or 4.
void normalize_row(const uint8_t* in, int32_t w, int32_t c, bool flip, const float* a, const float* b,
                   float* out, ptrdiff_t plane);
void normalize_row_reference(const uint8_t* in, int32_t w, int32_t c, bool flip, const float* a,
                             const float* b, float* out, ptrdiff_t plane);

}  // namespace ballast::detail
