#pragma once

// The inner loops of warps; plain pointers, not public.

#include <cstddef>
#include <cstdint>

namespace ballast::detail {

/// A row of an inverse map: the taps of the point j + t of it start at x = (mx (j + t) + bx) (1 / (mw (j + t) + bw)) - 1/2 and y
/// likewise, in double; t is 1/2, the middle of pixel j, or 1/4 and 3/4. mw = 0: no division.
struct WarpRow {
  double mx, bx, my, by;
  double mw = 0, bw = 1;
};

/// Pixels [from, from + n) of a row: bilinear, columns then rows, floor(v + 1/2). Pixel (0, 0) of `source` is (left, top)
/// of the picture. With samples 1 `lines` is one row; with 2 it is the rows of the pixels' upper and lower samples, at 1/4 and 3/4 of
/// each side, whose mean is rounded. Eight bytes (with one channel four) from each left tap on must be readable. out: pixel `from`.
void warp_span(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow* lines, int32_t samples, int32_t left,
               int32_t top, int32_t from, int32_t n, uint8_t* out);
void warp_span_reference(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow* lines, int32_t samples,
                         int32_t left, int32_t top, int32_t from, int32_t n, uint8_t* out);

/// The same with the 4x4 taps of the cubic, which begin one pixel before those of the bilinear; clamped to [0, 255].
void warp_cubic_span(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow* lines, int32_t samples,
                     int32_t left, int32_t top, int32_t from, int32_t n, uint8_t* out);
void warp_cubic_span_reference(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow* lines, int32_t samples,
                               int32_t left, int32_t top, int32_t from, int32_t n, uint8_t* out);

/// Bilinear at n points that stand one by one, in pixels of the picture; taps and bytes as above.
void warp_points(const uint8_t* source, ptrdiff_t stride, int32_t c, const double* x, const double* y, int32_t left,
                 int32_t top, int32_t n, uint8_t* out);
void warp_points_reference(const uint8_t* source, ptrdiff_t stride, int32_t c, const double* x, const double* y, int32_t left,
                           int32_t top, int32_t n, uint8_t* out);
/// The same with the cubic's taps.
void warp_cubic_points(const uint8_t* source, ptrdiff_t stride, int32_t c, const double* x, const double* y, int32_t left,
                       int32_t top, int32_t n, uint8_t* out);
void warp_cubic_points_reference(const uint8_t* source, ptrdiff_t stride, int32_t c, const double* x, const double* y,
                                 int32_t left, int32_t top, int32_t n, uint8_t* out);

/// Weights of the taps at -1, 0, 1 and 2 for a point at t in [0, 1): Keys' cubic with a = -1/2.
void cubic_weights(float t, float* w);

}  // namespace ballast::detail
