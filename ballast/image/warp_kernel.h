#pragma once

// The inner loop of affine warps; plain pointers, not public.

#include <cstddef>
#include <cstdint>

namespace ballast::detail {

/// A row of an affine inverse map: the taps of pixel j start at x = mx (j + 1/2) + bx - 1/2 and y likewise, in double.
struct WarpRow {
  double mx, bx, my, by;
};

/// Pixels [from, from + n) of a row: bilinear, columns then rows, floor(v + 1/2). Pixel (0, 0) of `source` is (left, top)
/// of the picture. All taps and, for 3 channels and one, the 3 bytes behind them must be readable. out: pixel `from`.
void warp_span(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow& row, int32_t left, int32_t top,
               int32_t from, int32_t n, uint8_t* out);
void warp_span_reference(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow& row, int32_t left,
                         int32_t top, int32_t from, int32_t n, uint8_t* out);

}  // namespace ballast::detail
