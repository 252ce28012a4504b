#include <ballast/image/resize_kernel.h>

#include <algorithm>

namespace ballast::detail {
namespace {

uint8_t finish(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> 22, 0, 255)); }

}  // namespace

void horizontal_pass_reference(const uint8_t* in, ptrdiff_t in_stride, int32_t rows, int32_t c,
                               const TapsView& taps, uint8_t* out, ptrdiff_t out_stride) {
  for (int32_t y = 0; y < rows; ++y) {
    const uint8_t* p = in + y * in_stride;
    uint8_t* o = out + y * out_stride;
    for (int32_t x = 0; x < taps.count; ++x) {
      const int32_t* w = taps.fixed + static_cast<ptrdiff_t>(x) * taps.stride;
      for (int32_t j = 0; j < c; ++j) {
        int32_t sum = 1 << 21;
        for (int32_t k = 0; k < taps.stride; ++k) {
          // Behind the last tap weights are 0, and there may be no pixel.
          if (w[k] != 0) sum += p[(taps.start[x] + k) * c + j] * w[k];
        }
        o[x * c + j] = finish(sum);
      }
    }
  }
}

void vertical_pass_reference(const uint8_t* in, ptrdiff_t in_stride, size_t n, const TapsView& taps,
                             int32_t i, uint8_t* out) {
  const int32_t* w = taps.fixed + static_cast<ptrdiff_t>(i) * taps.stride;
  const uint8_t* p = in + taps.start[i] * in_stride;
  for (size_t x = 0; x < n; ++x) {
    int32_t sum = 1 << 21;
    for (int32_t k = 0; k < taps.stride; ++k) {
      if (w[k] != 0) sum += p[k * in_stride + static_cast<ptrdiff_t>(x)] * w[k];
    }
    out[x] = finish(sum);
  }
}

size_t horizontal_scratch(int32_t, int32_t, int32_t) { return 0; }

void horizontal_pass(const uint8_t* in, ptrdiff_t in_stride, int32_t rows, int32_t, int32_t c,
                     const TapsView& taps, uint8_t* out, ptrdiff_t out_stride, uint8_t*) {
  horizontal_pass_reference(in, in_stride, rows, c, taps, out, out_stride);
}

void vertical_pass(const uint8_t* in, ptrdiff_t in_stride, size_t n, const TapsView& taps, int32_t i,
                   uint8_t* out) {
  vertical_pass_reference(in, in_stride, n, taps, i, out);
}

}  // namespace ballast::detail
