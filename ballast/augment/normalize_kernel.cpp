#include <ballast/augment/normalize_kernel.h>

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/augment/normalize_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ballast::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR

void Normalize(const uint8_t* in, int32_t w, int32_t c, bool flip, const float* a, const float* b, float* out,
               ptrdiff_t plane) {
  normalize_row_reference(in, w, c, flip, a, b, out, plane);
}

#else

using D8 = hn::CappedTag<uint8_t, 16>;
using DF = hn::CappedTag<float, 16>;

HWY_INLINE hn::Vec<DF> Floats(const uint8_t* p) {
  const DF df;
  const hn::Rebind<uint8_t, DF> d8;
  const hn::Rebind<int32_t, DF> di;
  return hn::ConvertTo(df, hn::PromoteTo(di, hn::LoadU(d8, p)));
}

HWY_INLINE hn::Vec<D8> Mirrored(hn::Vec<D8> v) {
  HWY_ALIGN static constexpr uint8_t kBackwards[16] = {15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
  return hn::TableLookupBytes(v, hn::Load(D8(), kBackwards));
}

/// 16 pixels of one plane.
HWY_INLINE void StorePlane(const uint8_t* bytes, float a, float b, float* out) {
  const DF df;
  const auto va = hn::Set(df, a), vb = hn::Set(df, b);
  for (size_t i = 0; i < 16; i += hn::Lanes(df)) {
    hn::StoreU(hn::Add(hn::Mul(Floats(bytes + i), va), vb), df, out + i);
  }
}

void Normalize(const uint8_t* in, int32_t w, int32_t c, bool flip, const float* a, const float* b, float* out,
               ptrdiff_t plane) {
  if (w < 16 || c == 4) {
    normalize_row_reference(in, w, c, flip, a, b, out, plane);
    return;
  }
  const D8 d8;
  const DF df;
  HWY_ALIGN uint8_t bytes[3][16];
  for (int32_t at = 0; at < w; at += 16) {
    // The last block overlaps the one before it.
    const int32_t x = std::min(at, w - 16);
    const uint8_t* p = in + static_cast<ptrdiff_t>(flip ? w - 16 - x : x) * c;
    if (c == 1) {
      auto v = hn::LoadU(d8, p);
      if (flip) v = Mirrored(v);
      hn::Store(v, d8, bytes[0]);
      StorePlane(bytes[0], a[0], b[0], out + x);
      continue;
    }
    auto r = hn::Undefined(d8), g = r, blue = r;
    hn::LoadInterleaved3(d8, p, r, g, blue);
    if (flip) {
      r = Mirrored(r);
      g = Mirrored(g);
      blue = Mirrored(blue);
    }
    hn::Store(r, d8, bytes[0]);
    hn::Store(g, d8, bytes[1]);
    hn::Store(blue, d8, bytes[2]);
    if (plane != 0) {
      for (int j = 0; j < 3; ++j) StorePlane(bytes[j], a[j], b[j], out + j * plane + x);
      continue;
    }
    for (size_t i = 0; i < 16; i += hn::Lanes(df)) {
      const auto vr = hn::Add(hn::Mul(Floats(bytes[0] + i), hn::Set(df, a[0])), hn::Set(df, b[0]));
      const auto vg = hn::Add(hn::Mul(Floats(bytes[1] + i), hn::Set(df, a[1])), hn::Set(df, b[1]));
      const auto vb = hn::Add(hn::Mul(Floats(bytes[2] + i), hn::Set(df, a[2])), hn::Set(df, b[2]));
      hn::StoreInterleaved3(vr, vg, vb, df, out + (static_cast<size_t>(x) + i) * 3);
    }
  }
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace ballast::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast::detail {

HWY_EXPORT(Normalize);

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
  HWY_DYNAMIC_DISPATCH(Normalize)(in, w, c, flip, a, b, out, plane);
}

}  // namespace ballast::detail
#endif
