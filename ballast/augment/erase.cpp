#include <ballast/augment/erase.h>

#include <algorithm>
#include <cmath>

namespace ballast::detail {

namespace {

/// Calls paint(x, y, channel, value in normalized units or levels).
template <class Paint>
void each(const Erasure& e, int32_t h, int32_t w, int32_t c, Paint&& paint) {
  FieldWords words(e.key, e.slot);
  const int32_t y1 = std::min(h, e.y + e.h), x1 = std::min(w, e.x + e.w);
  const bool all = e.pitch <= 0;
  for (int32_t y = std::max(0, e.y); y < y1; ++y) {
    for (int32_t x = std::max(0, e.x); x < x1; ++x) {
      if (!all && !e.covers(x, y)) continue;
      for (int32_t j = 0; j < std::min(c, 3); ++j) {
        float v = e.value[static_cast<size_t>(j)];
        if (e.paint == Erasure::Paint::field) {
          const auto i = (static_cast<uint64_t>(y) * static_cast<uint64_t>(w) + static_cast<uint64_t>(x)) *
                             static_cast<uint64_t>(c) + static_cast<uint64_t>(j);
          v = field_normal(words(i));
        }
        paint(x, y, j, v);
      }
    }
  }
}

}  // namespace

void erase_floats(const Erasure& e, float* out, int32_t h, int32_t w, int32_t c, Layout layout, const float* a,
                  const float* b) {
  const ptrdiff_t plane = static_cast<ptrdiff_t>(h) * w;
  if (layout == Layout::chw && e.paint == Erasure::Paint::values && e.pitch <= 0) {
    const int32_t y0 = std::max(0, e.y), y1 = std::min(h, e.y + e.h), x0 = std::max(0, e.x), x1 = std::min(w, e.x + e.w);
    for (int32_t j = 0; j < std::min(c, 3); ++j) {
      const float v = e.value[static_cast<size_t>(j)];
      for (int32_t y = y0; y < y1 && x0 < x1; ++y) {
        std::fill_n(out + j * plane + static_cast<ptrdiff_t>(y) * w + x0, x1 - x0, e.levels ? v * a[j] + b[j] : v);
      }
    }
    return;
  }
  each(e, h, w, c, [&](int32_t x, int32_t y, int32_t j, float v) {
    const ptrdiff_t at = static_cast<ptrdiff_t>(y) * w + x;
    out[layout == Layout::chw ? j * plane + at : at * c + j] = e.levels ? v * a[j] + b[j] : v;
  });
}

void erase_bytes(const Erasure& e, Image& image, const float* a, const float* b) {
  each(e, image.h(), image.w(), image.c(), [&](int32_t x, int32_t y, int32_t j, float v) {
    const float level = e.levels ? v : (v - b[j]) / a[j];
    image.row_u8(y)[x * image.c() + j] = static_cast<uint8_t>(std::nearbyint(std::clamp(level, 0.0F, 255.0F)));
  });
}

}  // namespace ballast::detail
