#pragma once

// The inner loop of affine warps; plain pointers, not public.

#include <cstddef>
#include <cstdint>

namespace ballast::detail {

/// A row of an inverse map: the taps of the point j + t of it start at x = (mx (j + t) + bx) / (mw (j + t) + bw) - 1/2 and y likewise,
/// in double; t is 1/2, the middle of pixel j, or 1/4 and 3/4. mw = 0: no division.
struct WarpRow {
  double mx, bx, my, by;
  double mw = 0, bw = 1;
};

/// Pixels [from, from + n) of a row: bilinear, columns then rows, floor(v + 1/2). Pixel (0, 0) of `source` is (left, top)
/// of the picture. With samples 1 `lines` is one row; with 2 it is the rows of the pixels' upper and lower samples, at 1/4 and 3/4 of
/// each side, whose mean is rounded. All taps and the 6 bytes behind them must be readable. out: pixel `from`.
void warp_span(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow* lines, int32_t samples, int32_t left,
               int32_t top, int32_t from, int32_t n, uint8_t* out);
void warp_span_reference(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow* lines, int32_t samples,
                         int32_t left, int32_t top, int32_t from, int32_t n, uint8_t* out);

}  // namespace ballast::detail
