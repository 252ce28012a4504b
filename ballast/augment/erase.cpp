#include <ballast/augment/erase.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include <ballast/image/noise_kernel.h>

namespace ballast::detail {

namespace {

/// Calls paint(x, y, channel, value in normalized units or levels).
template <class Paint>
void each(const Erasure& e, int32_t h, int32_t w, int32_t c, Paint&& paint) {
  FieldWords words(e.key, e.slot);
  const int32_t y1 = std::min(h, e.y + e.h), x1 = std::min(w, e.x + e.w);
  const bool all = e.pitch <= 0, straight = !all && e.sin == 0;
  // Without a turn a cell is a range of columns and one of rows.
  thread_local std::vector<uint8_t> columns;
  if (straight) {
    columns.assign(static_cast<size_t>(std::max(0, x1)), 0);
    for (int32_t x = std::max(0, e.x); x < x1; ++x) columns[static_cast<size_t>(x)] = e.in_cell(x, e.dx);
  }
  for (int32_t y = std::max(0, e.y); y < y1; ++y) {
    if (straight && !e.in_cell(y, e.dy)) continue;
    for (int32_t x = std::max(0, e.x); x < x1; ++x) {
      if (straight ? columns[static_cast<size_t>(x)] == 0 : !all && !e.covers(x, y)) continue;
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
  if (e.paint == Erasure::Paint::field && e.pitch <= 0) {
    const int32_t y0 = std::max(0, e.y), y1 = std::min(h, e.y + e.h), x0 = std::max(0, e.x), x1 = std::min(w, e.x + e.w);
    if (x0 >= x1) return;
    // Number (y w + x) c + j of the field, a row at a time.
    thread_local std::vector<float> z;
    z.resize(static_cast<size_t>(x1 - x0) * static_cast<size_t>(c));
    for (int32_t y = y0; y < y1; ++y) {
      const auto at = static_cast<ptrdiff_t>(y) * w + x0;
      field_normals(e.key.bits(), e.slot, static_cast<uint64_t>(at) * static_cast<uint64_t>(c), z.data(), z.size());
      for (int32_t j = 0; j < std::min(c, 3); ++j) {
        float* to = layout == Layout::chw ? out + j * plane + at : out + at * c + j;
        const ptrdiff_t step = layout == Layout::chw ? 1 : c;
        for (int32_t x = 0; x < x1 - x0; ++x) to[x * step] = z[static_cast<size_t>(x * c + j)];
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
