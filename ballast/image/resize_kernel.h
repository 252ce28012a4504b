#pragma once

#include <cstddef>
#include <cstdint>

namespace ballast::detail {

// Passes of separable resampling on 8-bit rows: out = clamp((2^21 + sum_k p_k W_k) >> 22), exact in int32.

/// Weights of one axis, as AxisTable holds them.
struct TapsView {
  const int32_t* start;
  const int32_t* taps;
  const int32_t* fixed;
  const int32_t* high_pairs;
  const int32_t* low_pairs;
  int32_t stride;
  int32_t count;
};

/// Bytes of scratch that horizontal_pass needs for a source width of `w` pixels and weights of `stride`.
size_t horizontal_scratch(int32_t w, int32_t count, int32_t c, int32_t stride);

/// `rows` rows of c-channel pixels, `w` wide, to `taps.count` pixels each. c is 1, 3 or 4; start values are even.
/// scratch: horizontal_scratch bytes, 64-byte aligned.
void horizontal_pass(const uint8_t* in, ptrdiff_t in_stride, int32_t rows, int32_t w, int32_t c,
                     const TapsView& taps, uint8_t* out, ptrdiff_t out_stride, uint8_t* scratch);
void horizontal_pass_reference(const uint8_t* in, ptrdiff_t in_stride, int32_t rows, int32_t c,
                               const TapsView& taps, uint8_t* out, ptrdiff_t out_stride);

/// Output row i of the other axis, n bytes, from the rows of `in`.
void vertical_pass(const uint8_t* in, ptrdiff_t in_stride, size_t n, const TapsView& taps, int32_t i,
                   uint8_t* out);
void vertical_pass_reference(const uint8_t* in, ptrdiff_t in_stride, size_t n, const TapsView& taps,
                             int32_t i, uint8_t* out);

}  // namespace ballast::detail
