#include <ballast/image/warp_kernel.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/image/warp_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ballast::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR
void Span(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow* lines, int32_t samples, int32_t left,
          int32_t top, int32_t from, int32_t n, uint8_t* out) {
  warp_span_reference(source, stride, c, lines, samples, left, top, from, n, out);
}
#else

using DF = hn::ScalableTag<float>;
using DI = hn::Rebind<int32_t, DF>;
using DFH = hn::Half<DF>;
using DIH = hn::Half<DI>;
using DUH = hn::Rebind<uint32_t, DIH>;
using DD = hn::Rebind<double, DFH>;
using DI64 = hn::Rebind<int64_t, DFH>;
using VF = hn::Vec<DF>;
using VI = hn::Vec<DI>;

/// Whole part and fraction of (m (j + t) + b) / (mw (j + t) + bw) - 1/2 for the pixels from j on.
HWY_INLINE void Split(double m, double b, const WarpRow& row, double j, double t, VI& whole, VF& fraction) {
  const DD dd;
  const auto half = hn::Set(dd, 0.5), mm = hn::Set(dd, m), bb = hn::Set(dd, b);
  const auto part = [&](double first, hn::Vec<DIH>& i, hn::Vec<DFH>& f) HWY_ATTR {
    const auto at = hn::Add(hn::Iota(dd, first), hn::Set(dd, t));
    auto point = hn::Add(hn::Mul(mm, at), bb);
    if (row.mw != 0) point = hn::Div(point, hn::Add(hn::Mul(hn::Set(dd, row.mw), at), hn::Set(dd, row.bw)));
    const auto x = hn::Sub(point, half);
    const auto floor = hn::Floor(x);
    i = hn::DemoteTo(DIH(), floor);
    f = hn::DemoteTo(DFH(), hn::Sub(x, floor));
  };
  hn::Vec<DIH> i0, i1;
  hn::Vec<DFH> f0, f1;
  part(j, i0, f0);
  part(j + static_cast<double>(hn::Lanes(dd)), i1, f1);
  whole = hn::Combine(DI(), i1, i0);
  fraction = hn::Combine(DF(), f1, f0);
}

/// Byte `k` of each lane.
template <int kByte>
HWY_INLINE VF Byte(VI v) {
  return hn::ConvertTo(DF(), hn::And(hn::ShiftRight<8 * kByte>(v), hn::Set(DI(), 255)));
}

/// Of each lane a pixel and its right neighbour, in the low bytes.
HWY_INLINE void Pair(const uint8_t* source, VI at, int32_t c, VI& a, VI& b) {
  const DI di;
  if (c == 1) {
    a = hn::GatherOffset(di, reinterpret_cast<const int32_t*>(source), at);
    b = hn::ShiftRight<8>(a);
    return;
  }
  const DI64 d64;
  const hn::Rebind<uint64_t, DI64> u64;
  const auto* base = reinterpret_cast<const int64_t*>(source);
  const auto low = hn::BitCast(u64, hn::GatherOffset(d64, base, hn::PromoteTo(d64, hn::LowerHalf(DIH(), at))));
  const auto high = hn::BitCast(u64, hn::GatherOffset(d64, base, hn::PromoteTo(d64, hn::UpperHalf(DIH(), at))));
  const auto both = [&](auto l, auto h) HWY_ATTR {
    return hn::BitCast(di, hn::Combine(hn::Rebind<uint32_t, DI>(), hn::TruncateTo(DUH(), h), hn::TruncateTo(DUH(), l)));
  };
  a = both(low, high);
  b = c == 3 ? both(hn::ShiftRight<24>(low), hn::ShiftRight<24>(high)) : both(hn::ShiftRight<32>(low), hn::ShiftRight<32>(high));
}

template <int kByte>
HWY_INLINE VF Blend(VI a, VI b, VI d, VI e, VF tx, VF ty) {
  const DF df;
  const auto one = hn::Set(df, 1.0F);
  const auto ux = hn::Sub(one, tx), uy = hn::Sub(one, ty);
  const auto above = hn::Add(hn::Mul(ux, Byte<kByte>(a)), hn::Mul(tx, Byte<kByte>(b)));
  const auto below = hn::Add(hn::Mul(ux, Byte<kByte>(d)), hn::Mul(tx, Byte<kByte>(e)));
  return hn::Add(hn::Mul(uy, above), hn::Mul(ty, below));
}

HWY_INLINE VI Rounded(VF v) { return hn::ConvertTo(DI(), hn::Floor(hn::Add(v, hn::Set(DF(), 0.5F)))); }

/// c low bytes of each lane, side by side.
HWY_INLINE void StorePixels(VI v, int32_t c, uint8_t* out) {
  const hn::Repartition<uint8_t, DI> d8;
  const size_t blocks = hn::Lanes(d8) / 16;
  HWY_ALIGN static constexpr uint8_t kOne[16] = {0, 4, 8, 12, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128};
  HWY_ALIGN static constexpr uint8_t kThree[16] = {0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 128, 128, 128, 128};
  HWY_ALIGN uint8_t bytes[HWY_MAX_BYTES];
  auto b = hn::BitCast(d8, v);
  if (c != 4) b = hn::TableLookupBytesOr0(b, hn::LoadDup128(d8, c == 3 ? kThree : kOne));
  hn::Store(b, d8, bytes);
  if (c == 4) {
    std::memcpy(out, bytes, 16 * blocks);
    return;
  }
  for (size_t k = 0; k < blocks; ++k) {
    if (c == 3) {
      std::memcpy(out + 12 * k, bytes + 16 * k, 12);
    } else {
      std::memcpy(out + 4 * k, bytes + 16 * k, 4);
    }
  }
}

void Span(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow* lines, int32_t samples, int32_t left,
          int32_t top, int32_t from, int32_t n, uint8_t* out) {
  const DI di;
  const DF df;
  const auto lanes = static_cast<int32_t>(hn::Lanes(di));
  static constexpr double kMiddle[1] = {0.5}, kTwo[2] = {0.25, 0.75};
  const double* places = samples == 1 ? kMiddle : kTwo;
  int32_t j = 0;
  for (; j + lanes <= n; j += lanes) {
    auto v0 = hn::Zero(df), v1 = v0, v2 = v0, v3 = v0;
    for (int32_t sy = 0; sy < samples; ++sy) {
      const WarpRow& row = lines[sy];
      for (int32_t sx = 0; sx < samples; ++sx) {
        VI x, y, a, b, d, e;
        VF tx, ty;
        Split(row.mx, row.bx, row, from + j, places[sx], x, tx);
        Split(row.my, row.by, row, from + j, places[sx], y, ty);
        x = hn::Sub(x, hn::Set(di, left));
        y = hn::Sub(y, hn::Set(di, top));
        const auto at = hn::Add(hn::Mul(y, hn::Set(di, static_cast<int32_t>(stride))), hn::Mul(x, hn::Set(di, c)));
        Pair(source, at, c, a, b);
        Pair(source + stride, at, c, d, e);
        v0 = hn::Add(v0, Blend<0>(a, b, d, e, tx, ty));
        if (c > 1) {
          v1 = hn::Add(v1, Blend<1>(a, b, d, e, tx, ty));
          v2 = hn::Add(v2, Blend<2>(a, b, d, e, tx, ty));
        }
        if (c == 4) v3 = hn::Add(v3, Blend<3>(a, b, d, e, tx, ty));
      }
    }
    const auto share = hn::Set(df, samples == 1 ? 1.0F : 0.25F);
    auto v = Rounded(hn::Mul(v0, share));
    if (c > 1) {
      v = hn::Or(v, hn::Or(hn::ShiftLeft<8>(Rounded(hn::Mul(v1, share))), hn::ShiftLeft<16>(Rounded(hn::Mul(v2, share)))));
    }
    if (c == 4) v = hn::Or(v, hn::ShiftLeft<24>(Rounded(hn::Mul(v3, share))));
    StorePixels(v, c, out + static_cast<ptrdiff_t>(j) * c);
  }
  warp_span_reference(source, stride, c, lines, samples, left, top, from + j, n - j, out + static_cast<ptrdiff_t>(j) * c);
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace ballast::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast::detail {

HWY_EXPORT(Span);

void warp_span_reference(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow* lines, int32_t samples,
                         int32_t left, int32_t top, int32_t from, int32_t n, uint8_t* out) {
  for (int32_t j = from; j < from + n; ++j, out += c) {
    float sum[4] = {};
    for (int32_t sy = 0; sy < samples; ++sy) {
      const WarpRow& row = lines[sy];
      for (int32_t sx = 0; sx < samples; ++sx) {
        const double t = samples == 1 ? 0.5 : sx == 0 ? 0.25 : 0.75;
        const double w = row.mw != 0 ? row.mw * (j + t) + row.bw : 1;
        const double x = (row.mx * (j + t) + row.bx) / w - 0.5, y = (row.my * (j + t) + row.by) / w - 0.5;
        const double x0 = std::floor(x), y0 = std::floor(y);
        const auto tx = static_cast<float>(x - x0), ty = static_cast<float>(y - y0);
        const uint8_t* a = source + (static_cast<ptrdiff_t>(y0) - top) * stride + (static_cast<ptrdiff_t>(x0) - left) * c;
        for (int32_t q = 0; q < c; ++q, ++a) {
          const float above = (1 - tx) * static_cast<float>(a[0]) + tx * static_cast<float>(a[c]);
          const float below = (1 - tx) * static_cast<float>(a[stride]) + tx * static_cast<float>(a[stride + c]);
          sum[q] += (1 - ty) * above + ty * below;
        }
      }
    }
    for (int32_t q = 0; q < c; ++q) out[q] = static_cast<uint8_t>(std::floor((samples == 1 ? sum[q] : sum[q] * 0.25F) + 0.5F));
  }
}

void warp_span(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow* lines, int32_t samples, int32_t left,
               int32_t top, int32_t from, int32_t n, uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(Span)(source, stride, c, lines, samples, left, top, from, n, out);
}

}  // namespace ballast::detail
#endif
