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
void CubicSpan(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow* lines, int32_t samples, int32_t left,
               int32_t top, int32_t from, int32_t n, uint8_t* out) {
  warp_cubic_span_reference(source, stride, c, lines, samples, left, top, from, n, out);
}
void PointRun(const uint8_t* source, ptrdiff_t stride, int32_t c, const double* x, const double* y, int32_t left, int32_t top,
              int32_t n, uint8_t* out) {
  warp_points_reference(source, stride, c, x, y, left, top, n, out);
}
void CubicPointRun(const uint8_t* source, ptrdiff_t stride, int32_t c, const double* x, const double* y, int32_t left,
                   int32_t top, int32_t n, uint8_t* out) {
  warp_cubic_points_reference(source, stride, c, x, y, left, top, n, out);
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

/// Points of a row in double, and 1 / (mw (j + t) + bw) there: the pixels from j on, in two vectors.
struct Places {
  hn::Vec<DD> at[2], inverse[2];
};
HWY_INLINE Places PlacesOf(const WarpRow& row, double j, double t) {
  const DD dd;
  Places p;
  for (int k = 0; k < 2; ++k) {
    p.at[k] = hn::Add(hn::Iota(dd, j + k * static_cast<double>(hn::Lanes(dd))), hn::Set(dd, t));
    if (row.mw != 0) {
      p.inverse[k] = hn::Div(hn::Set(dd, 1.0), hn::Add(hn::Mul(hn::Set(dd, row.mw), p.at[k]), hn::Set(dd, row.bw)));
    }
  }
  return p;
}

/// Whole parts and fractions of points - 1/2.
HWY_INLINE void Cut(hn::Vec<DD> low, hn::Vec<DD> high, VI& whole, VF& fraction) {
  const DD dd;
  const auto half = hn::Set(dd, 0.5), x0 = hn::Sub(low, half), x1 = hn::Sub(high, half), f0 = hn::Floor(x0), f1 = hn::Floor(x1);
  whole = hn::Combine(DI(), hn::DemoteTo(DIH(), f1), hn::DemoteTo(DIH(), f0));
  fraction = hn::Combine(DF(), hn::DemoteTo(DFH(), hn::Sub(x1, f1)), hn::DemoteTo(DFH(), hn::Sub(x0, f0)));
}

/// Those of (m (j + t) + b) / (mw (j + t) + bw).
HWY_INLINE void Split(double m, double b, bool divides, const Places& places, VI& whole, VF& fraction) {
  const DD dd;
  hn::Vec<DD> point[2];
  for (int k = 0; k < 2; ++k) {
    point[k] = hn::Add(hn::Mul(hn::Set(dd, m), places.at[k]), hn::Set(dd, b));
    if (divides) point[k] = hn::Mul(point[k], places.inverse[k]);
  }
  Cut(point[0], point[1], whole, fraction);
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

/// Of each lane the four taps of a row in the columns from `at` on.
struct Taps {
  VI at[4];
};
template <int kByte>
HWY_INLINE VF Sum(const Taps& taps, const VF* w) {
  VF sum = hn::Mul(w[0], Byte<kByte>(taps.at[0]));
  for (int k = 1; k < 4; ++k) sum = hn::Add(sum, hn::Mul(w[k], Byte<kByte>(taps.at[k])));
  return sum;
}

/// cubic_weights of each lane.
HWY_INLINE void CubicWeights(VF t, VF* w) {
  const DF df;
  const auto set = [&](float x) HWY_ATTR { return hn::Set(df, x); };
  w[0] = hn::Mul(hn::Sub(hn::Mul(hn::Add(hn::Mul(set(-0.5F), t), set(1.0F)), t), set(0.5F)), t);
  w[1] = hn::Add(hn::Mul(hn::Mul(hn::Sub(hn::Mul(set(1.5F), t), set(2.5F)), t), t), set(1.0F));
  w[2] = hn::Mul(hn::Add(hn::Mul(hn::Add(hn::Mul(set(-1.5F), t), set(2.0F)), t), set(0.5F)), t);
  w[3] = hn::Mul(hn::Mul(hn::Sub(hn::Mul(set(0.5F), t), set(0.5F)), t), t);
}

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

/// Values of the channels of a vector of pixels; those that the picture does not have stay 0.
struct Channels {
  VF v[4];
};

/// The point of a row that each lane asks for: its taps begin at `at`.
struct Point {
  VI at;
  VF tx, ty;
};

HWY_INLINE void AddBilinear(const uint8_t* source, ptrdiff_t stride, int32_t c, const Point& p, Channels& sum) {
  VI a, b, d, e;
  Pair(source, p.at, c, a, b);
  Pair(source + stride, p.at, c, d, e);
  sum.v[0] = hn::Add(sum.v[0], Blend<0>(a, b, d, e, p.tx, p.ty));
  if (c > 1) {
    sum.v[1] = hn::Add(sum.v[1], Blend<1>(a, b, d, e, p.tx, p.ty));
    sum.v[2] = hn::Add(sum.v[2], Blend<2>(a, b, d, e, p.tx, p.ty));
  }
  if (c == 4) sum.v[3] = hn::Add(sum.v[3], Blend<3>(a, b, d, e, p.tx, p.ty));
}

HWY_INLINE void AddCubic(const uint8_t* source, ptrdiff_t stride, int32_t c, const Point& p, Channels& sum) {
  VF wx[4], wy[4];
  CubicWeights(p.tx, wx);
  CubicWeights(p.ty, wy);
  const auto zero = hn::Zero(DF());
  Channels v{{zero, zero, zero, zero}};
  const uint8_t* row = source - stride - c;
  for (int r = 0; r < 4; ++r, row += stride) {
    Taps t;
    Pair(row, p.at, c, t.at[0], t.at[1]);
    Pair(row + 2 * c, p.at, c, t.at[2], t.at[3]);
    v.v[0] = hn::Add(v.v[0], hn::Mul(wy[r], Sum<0>(t, wx)));
    if (c > 1) {
      v.v[1] = hn::Add(v.v[1], hn::Mul(wy[r], Sum<1>(t, wx)));
      v.v[2] = hn::Add(v.v[2], hn::Mul(wy[r], Sum<2>(t, wx)));
    }
    if (c == 4) v.v[3] = hn::Add(v.v[3], hn::Mul(wy[r], Sum<3>(t, wx)));
  }
  for (int k = 0; k < 4; ++k) sum.v[k] = hn::Add(sum.v[k], v.v[k]);
}

/// Whole parts and fractions of the points of a vector of pixels, from pixel j on.
struct Points {
  VI x, y;
  VF tx, ty;
};

/// Pixels [0, n), n >= a vector's lanes; points_of(sy, sx, j) are those of sample (sy, sx).
template <bool kCubic, class PointsOf>
HWY_INLINE void Pixels(const uint8_t* source, ptrdiff_t stride, int32_t c, int32_t samples, int32_t left, int32_t top,
                       int32_t n, uint8_t* out, PointsOf&& points_of) {
  const DI di;
  const DF df;
  const auto lanes = static_cast<int32_t>(hn::Lanes(di));
  for (int32_t i = 0; i < n; i += lanes) {
    const int32_t j = std::min(i, n - lanes);  // the last vector makes some pixels again
    const auto zero = hn::Zero(df);
    Channels sum{{zero, zero, zero, zero}};
    for (int32_t sy = 0; sy < samples; ++sy) {
      for (int32_t sx = 0; sx < samples; ++sx) {
        const Points points = points_of(sy, sx, j);
        const auto x = hn::Sub(points.x, hn::Set(di, left)), y = hn::Sub(points.y, hn::Set(di, top));
        const auto at = hn::Add(hn::Mul(y, hn::Set(di, static_cast<int32_t>(stride))), hn::Mul(x, hn::Set(di, c)));
        if (kCubic) {
          AddCubic(source, stride, c, {at, points.tx, points.ty}, sum);
        } else {
          AddBilinear(source, stride, c, {at, points.tx, points.ty}, sum);
        }
      }
    }
    const auto share = hn::Set(df, samples == 1 ? 1.0F : 0.25F);
    const auto level = [&](int k) HWY_ATTR {
      auto v = hn::Mul(sum.v[k], share);
      if (kCubic) v = hn::Min(hn::Max(v, hn::Zero(df)), hn::Set(df, 255.0F));  // it overshoots
      return Rounded(v);
    };
    auto v = level(0);
    if (c > 1) v = hn::Or(v, hn::Or(hn::ShiftLeft<8>(level(1)), hn::ShiftLeft<16>(level(2))));
    if (c == 4) v = hn::Or(v, hn::ShiftLeft<24>(level(3)));
    StorePixels(v, c, out + static_cast<ptrdiff_t>(j) * c);
  }
}

template <bool kCubic>
HWY_INLINE void SpanOf(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow* lines, int32_t samples,
                       int32_t left, int32_t top, int32_t from, int32_t n, uint8_t* out) {
  if (n < static_cast<int32_t>(hn::Lanes(DI()))) {
    return kCubic ? warp_cubic_span_reference(source, stride, c, lines, samples, left, top, from, n, out)
                  : warp_span_reference(source, stride, c, lines, samples, left, top, from, n, out);
  }
  static constexpr double kMiddle[1] = {0.5}, kTwo[2] = {0.25, 0.75};
  const double* places = samples == 1 ? kMiddle : kTwo;
  Pixels<kCubic>(source, stride, c, samples, left, top, n, out, [&](int32_t sy, int32_t sx, int32_t j) HWY_ATTR {
    const WarpRow& row = lines[sy];
    const Places at = PlacesOf(row, from + j, places[sx]);
    Points p;
    Split(row.mx, row.bx, row.mw != 0, at, p.x, p.tx);
    Split(row.my, row.by, row.mw != 0, at, p.y, p.ty);
    return p;
  });
}

template <bool kCubic>
HWY_INLINE void PointRunOf(const uint8_t* source, ptrdiff_t stride, int32_t c, const double* x, const double* y, int32_t left,
                         int32_t top, int32_t n, uint8_t* out) {
  if (n < static_cast<int32_t>(hn::Lanes(DI()))) {
    return kCubic ? warp_cubic_points_reference(source, stride, c, x, y, left, top, n, out)
                  : warp_points_reference(source, stride, c, x, y, left, top, n, out);
  }
  Pixels<kCubic>(source, stride, c, 1, left, top, n, out, [&](int32_t, int32_t, int32_t j) HWY_ATTR {
    const DD dd;
    const size_t half = hn::Lanes(dd);
    Points p;
    Cut(hn::LoadU(dd, x + j), hn::LoadU(dd, x + j + half), p.x, p.tx);
    Cut(hn::LoadU(dd, y + j), hn::LoadU(dd, y + j + half), p.y, p.ty);
    return p;
  });
}

void Span(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow* lines, int32_t samples, int32_t left,
          int32_t top, int32_t from, int32_t n, uint8_t* out) {
  SpanOf<false>(source, stride, c, lines, samples, left, top, from, n, out);
}
void CubicSpan(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow* lines, int32_t samples, int32_t left,
               int32_t top, int32_t from, int32_t n, uint8_t* out) {
  SpanOf<true>(source, stride, c, lines, samples, left, top, from, n, out);
}
void PointRun(const uint8_t* source, ptrdiff_t stride, int32_t c, const double* x, const double* y, int32_t left, int32_t top,
              int32_t n, uint8_t* out) {
  PointRunOf<false>(source, stride, c, x, y, left, top, n, out);
}
void CubicPointRun(const uint8_t* source, ptrdiff_t stride, int32_t c, const double* x, const double* y, int32_t left,
                   int32_t top, int32_t n, uint8_t* out) {
  PointRunOf<true>(source, stride, c, x, y, left, top, n, out);
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace ballast::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast::detail {

HWY_EXPORT(Span);
HWY_EXPORT(CubicSpan);
HWY_EXPORT(PointRun);
HWY_EXPORT(CubicPointRun);

void cubic_weights(float t, float* w) {
  w[0] = ((-0.5F * t + 1.0F) * t - 0.5F) * t;
  w[1] = (1.5F * t - 2.5F) * t * t + 1.0F;
  w[2] = ((-1.5F * t + 2.0F) * t + 0.5F) * t;
  w[3] = (0.5F * t - 0.5F) * t * t;
}

namespace {

/// Adds to sum[0..c) the values of one point, tx and ty in [0, 1] behind pixel `a`.
void add_bilinear(const uint8_t* a, ptrdiff_t stride, int32_t c, float tx, float ty, float* sum) {
  for (int32_t q = 0; q < c; ++q, ++a) {
    const float above = (1 - tx) * static_cast<float>(a[0]) + tx * static_cast<float>(a[c]);
    const float below = (1 - tx) * static_cast<float>(a[stride]) + tx * static_cast<float>(a[stride + c]);
    sum[q] += (1 - ty) * above + ty * below;
  }
}

void add_cubic(const uint8_t* a, ptrdiff_t stride, int32_t c, float tx, float ty, float* sum) {
  float wx[4], wy[4];
  cubic_weights(tx, wx);
  cubic_weights(ty, wy);
  for (int32_t q = 0; q < c; ++q) {
    float v = 0;
    const uint8_t* row = a - stride - c + q;
    for (int r = 0; r < 4; ++r, row += stride) {
      float part = wx[0] * static_cast<float>(row[0]);
      for (int k = 1; k < 4; ++k) part += wx[k] * static_cast<float>(row[k * c]);
      v += wy[r] * part;
    }
    sum[q] += v;
  }
}

struct XY {
  double x, y;
};

/// point_of(sy, sx, j): sample (sy, sx) of pixel j.
template <class Add, class PointOf>
void pixels_reference(const uint8_t* source, ptrdiff_t stride, int32_t c, int32_t samples, int32_t left, int32_t top,
                      int32_t n, uint8_t* out, const Add& add, const PointOf& point_of) {
  for (int32_t j = 0; j < n; ++j, out += c) {
    float sum[4] = {};
    for (int32_t sy = 0; sy < samples; ++sy) {
      for (int32_t sx = 0; sx < samples; ++sx) {
        const XY p = point_of(sy, sx, j);
        const double x = p.x - 0.5, y = p.y - 0.5, x0 = std::floor(x), y0 = std::floor(y);
        const uint8_t* a = source + (static_cast<ptrdiff_t>(y0) - top) * stride + (static_cast<ptrdiff_t>(x0) - left) * c;
        add(a, stride, c, static_cast<float>(x - x0), static_cast<float>(y - y0), sum);
      }
    }
    for (int32_t q = 0; q < c; ++q) {
      const float v = samples == 1 ? sum[q] : sum[q] * 0.25F;
      out[q] = static_cast<uint8_t>(std::clamp(std::floor(v + 0.5F), 0.0F, 255.0F));
    }
  }
}

/// The points of a row, from pixel `from` on.
auto row_points(const WarpRow* lines, int32_t samples, int32_t from) {
  return [=](int32_t sy, int32_t sx, int32_t j) {
    const WarpRow& row = lines[sy];
    const double at = from + j + (samples == 1 ? 0.5 : sx == 0 ? 0.25 : 0.75);
    const double inverse = row.mw != 0 ? 1 / (row.mw * at + row.bw) : 1;
    return XY{(row.mx * at + row.bx) * inverse, (row.my * at + row.by) * inverse};
  };
}
auto given_points(const double* x, const double* y) {
  return [=](int32_t, int32_t, int32_t j) { return XY{x[j], y[j]}; };
}

}  // namespace

void warp_span_reference(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow* lines, int32_t samples,
                         int32_t left, int32_t top, int32_t from, int32_t n, uint8_t* out) {
  pixels_reference(source, stride, c, samples, left, top, n, out, add_bilinear, row_points(lines, samples, from));
}
void warp_cubic_span_reference(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow* lines, int32_t samples,
                               int32_t left, int32_t top, int32_t from, int32_t n, uint8_t* out) {
  pixels_reference(source, stride, c, samples, left, top, n, out, add_cubic, row_points(lines, samples, from));
}
void warp_points_reference(const uint8_t* source, ptrdiff_t stride, int32_t c, const double* x, const double* y, int32_t left,
                           int32_t top, int32_t n, uint8_t* out) {
  pixels_reference(source, stride, c, 1, left, top, n, out, add_bilinear, given_points(x, y));
}
void warp_cubic_points_reference(const uint8_t* source, ptrdiff_t stride, int32_t c, const double* x, const double* y,
                                 int32_t left, int32_t top, int32_t n, uint8_t* out) {
  pixels_reference(source, stride, c, 1, left, top, n, out, add_cubic, given_points(x, y));
}

void warp_span(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow* lines, int32_t samples, int32_t left,
               int32_t top, int32_t from, int32_t n, uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(Span)(source, stride, c, lines, samples, left, top, from, n, out);
}
void warp_cubic_span(const uint8_t* source, ptrdiff_t stride, int32_t c, const WarpRow* lines, int32_t samples,
                     int32_t left, int32_t top, int32_t from, int32_t n, uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(CubicSpan)(source, stride, c, lines, samples, left, top, from, n, out);
}
void warp_points(const uint8_t* source, ptrdiff_t stride, int32_t c, const double* x, const double* y, int32_t left,
                 int32_t top, int32_t n, uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(PointRun)(source, stride, c, x, y, left, top, n, out);
}
void warp_cubic_points(const uint8_t* source, ptrdiff_t stride, int32_t c, const double* x, const double* y, int32_t left,
                       int32_t top, int32_t n, uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(CubicPointRun)(source, stride, c, x, y, left, top, n, out);
}

}  // namespace ballast::detail
#endif
