#include <ballast/image/warp_kernel.h>

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/image/warp_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ballast::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR
void Span(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow& row, int32_t left, int32_t top,
          int32_t from, int32_t n, uint8_t* out) {
  warp_span_reference(source, stride, c, row, left, top, from, n, out);
}
#else

using DF = hn::ScalableTag<float>;
using DI = hn::Rebind<int32_t, DF>;
using DFH = hn::Half<DF>;
using DIH = hn::Half<DI>;
using DD = hn::Rebind<double, DFH>;
using VF = hn::Vec<DF>;
using VI = hn::Vec<DI>;

/// Whole part and fraction of m (j + 1/2) + b - 1/2 for the pixels from j on.
HWY_INLINE void Split(double m, double b, double j, VI& whole, VF& t) {
  const DD dd;
  const auto half = hn::Set(dd, 0.5), mm = hn::Set(dd, m), bb = hn::Set(dd, b);
  const auto part = [&](double first, hn::Vec<DIH>& i, hn::Vec<DFH>& f) HWY_ATTR {
    const auto centre = hn::Add(hn::Iota(dd, first), half);
    const auto x = hn::Sub(hn::Add(hn::Mul(mm, centre), bb), half);
    const auto floor = hn::Floor(x);
    i = hn::DemoteTo(DIH(), floor);
    f = hn::DemoteTo(DFH(), hn::Sub(x, floor));
  };
  hn::Vec<DIH> i0, i1;
  hn::Vec<DFH> f0, f1;
  part(j, i0, f0);
  part(j + static_cast<double>(hn::Lanes(dd)), i1, f1);
  whole = hn::Combine(DI(), i1, i0);
  t = hn::Combine(DF(), f1, f0);
}

/// (1 - t) a + t b for byte `k` of each lane.
template <int kByte>
HWY_INLINE VF Byte(VI v) {
  return hn::ConvertTo(DF(), hn::And(hn::ShiftRight<8 * kByte>(v), hn::Set(DI(), 255)));
}

template <int kByte>
HWY_INLINE VI Blend(VI a, VI b, VI d, VI e, VF tx, VF ty) {
  const DF df;
  const auto one = hn::Set(df, 1.0F);
  const auto ux = hn::Sub(one, tx), uy = hn::Sub(one, ty);
  const auto above = hn::Add(hn::Mul(ux, Byte<kByte>(a)), hn::Mul(tx, Byte<kByte>(b)));
  const auto below = hn::Add(hn::Mul(ux, Byte<kByte>(d)), hn::Mul(tx, Byte<kByte>(e)));
  const auto v = hn::Add(hn::Mul(uy, above), hn::Mul(ty, below));
  return hn::ConvertTo(DI(), hn::Floor(hn::Add(v, hn::Set(df, 0.5F))));
}

void Span(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow& row, int32_t left, int32_t top,
          int32_t from, int32_t n, uint8_t* out) {
  const DI di;
  const auto lanes = static_cast<int32_t>(hn::Lanes(di));
  int32_t j = 0;
  HWY_ALIGN int32_t packed[HWY_MAX_BYTES / 4];
  for (; j + lanes <= n; j += lanes) {
    VI x, y;
    VF tx, ty;
    Split(row.mx, row.bx, from + j, x, tx);
    Split(row.my, row.by, from + j, y, ty);
    x = hn::Sub(x, hn::Set(di, left));
    y = hn::Sub(y, hn::Set(di, top));
    const auto at = hn::Add(hn::Mul(y, hn::Set(di, static_cast<int32_t>(stride))), hn::Mul(x, hn::Set(di, c)));
    const auto gather = [&](ptrdiff_t more) HWY_ATTR {
      return hn::GatherOffset(di, reinterpret_cast<const int32_t*>(source + more), at);
    };
    const auto a = gather(0), d = gather(stride);
    const auto b = c == 1 ? hn::ShiftRight<8>(a) : gather(c), e = c == 1 ? hn::ShiftRight<8>(d) : gather(stride + c);
    auto v = Blend<0>(a, b, d, e, tx, ty);
    uint8_t* p = out + static_cast<ptrdiff_t>(j) * c;
    if (c > 1) {
      v = hn::Or(v, hn::Or(hn::ShiftLeft<8>(Blend<1>(a, b, d, e, tx, ty)),
                           hn::ShiftLeft<16>(Blend<2>(a, b, d, e, tx, ty))));
    }
    if (c == 4) v = hn::Or(v, hn::ShiftLeft<24>(Blend<3>(a, b, d, e, tx, ty)));
    hn::Store(v, di, packed);
    for (int32_t k = 0; k < lanes; ++k, p += c) {
      const auto word = static_cast<uint32_t>(packed[k]);
      p[0] = static_cast<uint8_t>(word);
      if (c > 1) {
        p[1] = static_cast<uint8_t>(word >> 8);
        p[2] = static_cast<uint8_t>(word >> 16);
      }
      if (c == 4) p[3] = static_cast<uint8_t>(word >> 24);
    }
  }
  warp_span_reference(source, stride, c, row, left, top, from + j, n - j, out + static_cast<ptrdiff_t>(j) * c);
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace ballast::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast::detail {

HWY_EXPORT(Span);

void warp_span_reference(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow& row, int32_t left,
                         int32_t top, int32_t from, int32_t n, uint8_t* out) {
  for (int32_t j = from; j < from + n; ++j) {
    const double x = row.mx * (j + 0.5) + row.bx - 0.5, y = row.my * (j + 0.5) + row.by - 0.5;
    const double x0 = std::floor(x), y0 = std::floor(y);
    const auto tx = static_cast<float>(x - x0), ty = static_cast<float>(y - y0);
    const uint8_t* a = source + (static_cast<ptrdiff_t>(y0) - top) * stride + (static_cast<ptrdiff_t>(x0) - left) * c;
    for (int32_t q = 0; q < c; ++q, ++a) {
      const float above = (1 - tx) * static_cast<float>(a[0]) + tx * static_cast<float>(a[c]);
      const float below = (1 - tx) * static_cast<float>(a[stride]) + tx * static_cast<float>(a[stride + c]);
      *out++ = static_cast<uint8_t>(std::floor((1 - ty) * above + ty * below + 0.5F));
    }
  }
}

void warp_span(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow& row, int32_t left, int32_t top,
               int32_t from, int32_t n, uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(Span)(source, stride, c, row, left, top, from, n, out);
}

}  // namespace ballast::detail
#endif
