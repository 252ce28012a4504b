#pragma once

// Inner loops of neighbourhood filters; plain pointers, not public.

#include <cstddef>
#include <cstdint>

namespace ballast::detail {

/// n bytes of a row, each blended with its smoothed 3x3 neighbourhood: b = (2 s + 13) / 26 (whole numbers), s = the 8
/// neighbours + 5 x; out = trunc(clamp(f x + g b)). `step`: bytes to the next pixel of the same channel.
void sharpen_row(const uint8_t* above, const uint8_t* row, const uint8_t* below, ptrdiff_t step, size_t n, float f,
                 float g, uint8_t* out);
void sharpen_row_reference(const uint8_t* above, const uint8_t* row, const uint8_t* below, ptrdiff_t step, size_t n,
                           float f, float g, uint8_t* out);

/// out[i] = sum over k of w[k] * in[i + k * step], taps in order, for i in [0, n).
void blur_columns(const uint8_t* in, size_t n, size_t step, const float* w, size_t taps, float* out);
void blur_columns_reference(const uint8_t* in, size_t n, size_t step, const float* w, size_t taps, float* out);

/// out[i] = round(clamp(sum over k of w[k] * rows[k][i])).
void blur_rows(const float* const* rows, const float* w, size_t taps, size_t n, uint8_t* out);
void blur_rows_reference(const float* const* rows, const float* w, size_t taps, size_t n, uint8_t* out);

}  // namespace ballast::detail
