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

/// A symmetric filter of an odd number of taps, m the middle one: out[i] = w[m] in[i + m step] + sum over d = 1.. of
/// w[m + d] (in[i + (m - d) step] + in[i + (m + d) step]), for i in [0, n).
void blur_columns(const uint8_t* in, size_t n, size_t step, const float* w, size_t taps, float* out);
void blur_columns_reference(const uint8_t* in, size_t n, size_t step, const float* w, size_t taps, float* out);

/// The same over rows: out[i] = round(clamp(w[m] rows[m][i] + sum over d of w[m + d] (rows[m - d][i] + rows[m + d][i]))).
void blur_rows(const float* const* rows, const float* w, size_t taps, size_t n, uint8_t* out);
void blur_rows_reference(const float* const* rows, const float* w, size_t taps, size_t n, uint8_t* out);

/// out[i] = the median of rows[k][i + j step], k and j in [0, size). size: 3 or 5.
void median_row(const uint8_t* const* rows, size_t size, size_t step, size_t n, uint8_t* out);
void median_row_reference(const uint8_t* const* rows, size_t size, size_t step, size_t n, uint8_t* out);

/// out[i] = the mean of taps[k][i], k in [0, count), halves up. count in [1, 255].
void mean_row(const uint8_t* const* taps, size_t count, size_t n, uint8_t* out);
void mean_row_reference(const uint8_t* const* taps, size_t count, size_t n, uint8_t* out);

}  // namespace ballast::detail
