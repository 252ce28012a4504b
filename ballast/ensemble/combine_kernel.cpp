#include <ballast/ensemble/combine_kernel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/ensemble/combine_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef BALLAST_ENSEMBLE_EXP_CONSTANTS
#define BALLAST_ENSEMBLE_EXP_CONSTANTS
#include <bit>
#include <cmath>
#include <cstdint>
namespace ballast::exp32 {
// e^r = 1 + r + r^2 q(r) for |r| <= ln 2 / 2; ln 2 in two parts, the first with few bits.
constexpr float kLog2E = 1.44269504F, kLn2Hi = 0.693359375F, kLn2Lo = -2.12194440e-4F, kLowest = -87.3F;
constexpr float kQ[6] = {1.9875691500e-4F, 1.3981999507e-3F, 8.3334519073e-3F, 4.1665795894e-2F, 1.6666665459e-1F, 5.0000001201e-1F};
}  // namespace ballast::exp32
#endif

HWY_BEFORE_NAMESPACE();
namespace ballast {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D, class V>
HWY_INLINE V ExpNegative(D d, V x) {
  namespace c = exp32;
  const auto low = hn::Lt(x, hn::Set(d, c::kLowest));
  x = hn::Max(x, hn::Set(d, c::kLowest));
  const V n = hn::Round(hn::Mul(x, hn::Set(d, c::kLog2E)));
  const V r = hn::Sub(hn::Sub(x, hn::Mul(n, hn::Set(d, c::kLn2Hi))), hn::Mul(n, hn::Set(d, c::kLn2Lo)));
  V q = hn::Set(d, c::kQ[0]);
  for (int i = 1; i < 6; ++i) q = hn::Add(hn::Mul(q, r), hn::Set(d, c::kQ[i]));
  const V e = hn::Add(hn::Add(hn::Mul(q, hn::Mul(r, r)), r), hn::Set(d, 1.0F));
  const hn::RebindToSigned<D> di;
  const auto power = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, n), hn::Set(di, 127))));
  return hn::IfThenZeroElse(low, hn::Mul(e, power));
}

template <class D>
HWY_INLINE hn::Vec<D> Group(D d, const float* const* z, const float* w, size_t members, size_t i) {
  const auto term = [&](size_t m) { return hn::Mul(hn::Set(d, w[m]), hn::LoadU(d, z[m] + i)); };
  switch (members) {
    case 1: return term(0);
    case 2: return hn::Add(term(0), term(1));
    case 3: return hn::Add(hn::Add(term(0), term(1)), term(2));
    default: return hn::Add(hn::Add(term(0), term(1)), hn::Add(term(2), term(3)));
  }
}

void AddWeighted(const float* const* z, const float* w, size_t members, float* HWY_RESTRICT acc, size_t n) {
  const hn::CappedTag<float, 16> d;
  const hn::CappedTag<float, 1> one;
  const size_t lanes = hn::Lanes(d);
  for (size_t m = 0; m < members; m += 4) {
    const size_t group = HWY_MIN(size_t{4}, members - m);
    size_t i = 0;
    for (; i + lanes <= n; i += lanes) {
      hn::StoreU(hn::Add(hn::LoadU(d, acc + i), Group(d, z + m, w + m, group, i)), d, acc + i);
    }
    for (; i < n; ++i) hn::StoreU(hn::Add(hn::LoadU(one, acc + i), Group(one, z + m, w + m, group, i)), one, acc + i);
  }
}

// Rows r to r + lanes: a lane each.
template <class D>
HWY_INLINE hn::Mask<D> SoftmaxRows(D d, const float* HWY_RESTRICT z, size_t k, float inv_t, float w, float* HWY_RESTRICT acc,
                                   size_t stride, float* HWY_RESTRICT scratch) {
  const size_t lanes = hn::Lanes(d);
  const hn::RebindToSigned<D> di;
  const auto index = hn::Mul(hn::Iota(di, 0), hn::Set(di, static_cast<int32_t>(k)));
  const auto scale = hn::Set(d, inv_t);
  const auto zero = hn::Zero(d);
  auto top = hn::Set(d, -3.4e38F);
  auto bad = zero;
  for (size_t c = 0; c < k; ++c) {
    const auto x = hn::Mul(hn::GatherIndex(d, z + c, index), scale);
    top = hn::Max(top, x);
    bad = hn::Add(bad, hn::Mul(x, zero));
    hn::StoreU(x, d, scratch + c * lanes);
  }
  auto sum = zero;
  for (size_t c = 0; c < k; ++c) {
    const auto e = ExpNegative(d, hn::Sub(hn::LoadU(d, scratch + c * lanes), top));
    sum = hn::Add(sum, e);
    hn::StoreU(e, d, scratch + c * lanes);
  }
  const auto share = hn::Div(hn::Set(d, w), sum);
  for (size_t c = 0; c < k; ++c) {
    const auto p = hn::Mul(hn::LoadU(d, scratch + c * lanes), share);
    hn::StoreU(hn::Add(hn::LoadU(d, acc + c * stride), p), d, acc + c * stride);
  }
  return hn::Eq(bad, zero);
}

bool AddSoftmax(const float* z, size_t rows, size_t k, float inv_t, float w, float* acc, size_t stride, float* scratch) {
  const hn::CappedTag<float, 16> d;
  const hn::CappedTag<float, 1> one;
  const size_t lanes = hn::Lanes(d);
  auto good = hn::Eq(hn::Zero(d), hn::Zero(d));
  size_t r = 0;
  for (; r + lanes <= rows; r += lanes) good = hn::And(good, SoftmaxRows(d, z + r * k, k, inv_t, w, acc + r, stride, scratch));
  bool all = hn::AllTrue(d, good);
  for (; r < rows; ++r) all = hn::AllTrue(one, SoftmaxRows(one, z + r * k, k, inv_t, w, acc + r, stride, scratch)) && all;
  return all;
}

}  // namespace HWY_NAMESPACE
}  // namespace ballast
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast {
HWY_EXPORT(AddWeighted);
HWY_EXPORT(AddSoftmax);

void add_weighted(const float* const* z, const float* w, size_t members, float* acc, size_t n) {
  HWY_DYNAMIC_DISPATCH(AddWeighted)(z, w, members, acc, n);
}

bool add_softmax(const float* z, size_t rows, size_t k, float inv_t, float w, float* acc, size_t stride, float* scratch) {
  return HWY_DYNAMIC_DISPATCH(AddSoftmax)(z, rows, k, inv_t, w, acc, stride, scratch);
}

void add_weighted_reference(const float* const* z, const float* w, size_t members, float* acc, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    for (size_t m = 0; m < members; m += 4) {
      const size_t group = members - m;
      float sum = w[m] * z[m][i];
      if (group > 1) sum = sum + w[m + 1] * z[m + 1][i];
      if (group == 3) sum = sum + w[m + 2] * z[m + 2][i];
      if (group > 3) sum = sum + (w[m + 2] * z[m + 2][i] + w[m + 3] * z[m + 3][i]);
      acc[i] = acc[i] + sum;
    }
  }
}

float exp_negative_reference(float x) {
  namespace c = exp32;
  if (x < c::kLowest) return 0;
  const float n = std::nearbyint(x * c::kLog2E);
  const float r = (x - n * c::kLn2Hi) - n * c::kLn2Lo;
  float q = c::kQ[0];
  for (int i = 1; i < 6; ++i) q = q * r + c::kQ[i];
  const float e = (q * (r * r) + r) + 1.0F;
  return e * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

bool add_softmax_reference(const float* z, size_t rows, size_t k, float inv_t, float w, float* acc, size_t stride,
                           float* scratch) {
  bool good = true;
  for (size_t r = 0; r < rows; ++r) {
    float top = -3.4e38F, sum = 0;
    for (size_t c = 0; c < k; ++c) {
      scratch[c] = z[r * k + c] * inv_t;
      good = good && std::isfinite(scratch[c]);
      top = std::fmax(top, scratch[c]);
    }
    for (size_t c = 0; c < k; ++c) sum += scratch[c] = exp_negative_reference(scratch[c] - top);
    for (size_t c = 0; c < k; ++c) acc[c * stride + r] += scratch[c] * (w / sum);
  }
  return good;
}

}  // namespace ballast
#endif
