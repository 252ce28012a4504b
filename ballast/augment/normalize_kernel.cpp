#include <ballast/augment/normalize_kernel.h>

namespace ballast::detail {

void normalize_row_reference(const uint8_t* in, int32_t w, int32_t c, bool flip, const float* a,
                             const float* b, float* out, ptrdiff_t plane) {
  for (int32_t x = 0; x < w; ++x) {
    const uint8_t* pixel = in + static_cast<ptrdiff_t>(flip ? w - 1 - x : x) * c;
    for (int32_t j = 0; j < c; ++j) {
      const float y = static_cast<float>(pixel[j]) * a[j] + b[j];
      if (plane == 0) {
        out[x * c + j] = y;
      } else {
        out[j * plane + x] = y;
      }
    }
  }
}

void normalize_row(const uint8_t* in, int32_t w, int32_t c, bool flip, const float* a, const float* b,
                   float* out, ptrdiff_t plane) {
  normalize_row_reference(in, w, c, flip, a, b, out, plane);
}

}  // namespace ballast::detail
