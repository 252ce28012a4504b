#include <ballast/image/filter_kernel.h>

#include <algorithm>
#include <array>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/image/filter_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ballast::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR
void Sharpen(const uint8_t* a, const uint8_t* r, const uint8_t* b, ptrdiff_t step, size_t n, float f, float g,
             uint8_t* out) {
  sharpen_row_reference(a, r, b, step, n, f, g, out);
}
void Columns(const uint8_t* in, size_t n, size_t step, const float* w, size_t taps, float* out) {
  blur_columns_reference(in, n, step, w, taps, out);
}
void Rows(const float* const* rows, const float* w, size_t taps, size_t n, uint8_t* out) {
  blur_rows_reference(rows, w, taps, n, out);
}
void Median(const uint8_t* const* rows, size_t size, size_t step, size_t n, uint8_t* out) {
  median_row_reference(rows, size, step, n, out);
}
void Mean(const uint8_t* const* taps, size_t count, size_t n, uint8_t* out) { mean_row_reference(taps, count, n, out); }
#else

using DF = hn::ScalableTag<float>;
using DI = hn::Rebind<int32_t, DF>;
using D8 = hn::Rebind<uint8_t, DF>;

HWY_INLINE hn::Vec<DI> Whole(const uint8_t* p) { return hn::PromoteTo(DI(), hn::LoadU(D8(), p)); }

void Sharpen(const uint8_t* a, const uint8_t* r, const uint8_t* b, ptrdiff_t step, size_t n, float f, float g,
             uint8_t* out) {
  const DF df;
  const DI di;
  const size_t lanes = hn::Lanes(df);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto x = Whole(r + i);
    auto s = hn::Add(hn::ShiftLeft<2>(x), x);
    for (const uint8_t* p : {a + i, b + i}) s = hn::Add(s, hn::Add(Whole(p), hn::Add(Whole(p - step), Whole(p + step))));
    s = hn::Add(s, hn::Add(Whole(r + i - step), Whole(r + i + step)));
    // (2 s + 13) / 26 by a reciprocal: exact below 2^13 * 26.
    const auto smooth = hn::ShiftRight<18>(hn::Mul(hn::Add(hn::Add(s, s), hn::Set(di, 13)), hn::Set(di, 10083)));
    const auto v = hn::Add(hn::Mul(hn::ConvertTo(df, x), hn::Set(df, f)),
                           hn::Mul(hn::ConvertTo(df, smooth), hn::Set(df, g)));
    const auto clamped = hn::Min(hn::Max(v, hn::Zero(df)), hn::Set(df, 255.0F));
    hn::StoreU(hn::DemoteTo(D8(), hn::ConvertTo(di, clamped)), D8(), out + i);
  }
  sharpen_row_reference(a + i, r + i, b + i, step, n - i, f, g, out + i);
}

void Columns(const uint8_t* in, size_t n, size_t step, const float* w, size_t taps, float* out) {
  const DF df;
  const size_t middle = taps / 2;
  const size_t lanes = hn::Lanes(df);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const uint8_t* p = in + i + middle * step;
    auto sum = hn::Mul(hn::ConvertTo(df, Whole(p)), hn::Set(df, w[middle]));
    for (size_t d = 1; d <= middle; ++d) {
      const auto pair = hn::Add(Whole(p - d * step), Whole(p + d * step));
      sum = hn::Add(sum, hn::Mul(hn::ConvertTo(df, pair), hn::Set(df, w[middle + d])));
    }
    hn::StoreU(sum, df, out + i);
  }
  blur_columns_reference(in + i, n - i, step, w, taps, out + i);
}

HWY_INLINE uint8_t RowValue(const float* const* rows, const float* w, size_t middle, size_t i) {
  float sum = rows[middle][i] * w[middle];
  for (size_t d = 1; d <= middle; ++d) sum += (rows[middle - d][i] + rows[middle + d][i]) * w[middle + d];
  return static_cast<uint8_t>(std::nearbyint(std::min(std::max(sum, 0.0F), 255.0F)));
}

void Rows(const float* const* rows, const float* w, size_t taps, size_t n, uint8_t* out) {
  const DF df;
  const size_t middle = taps / 2;
  const size_t lanes = hn::Lanes(df);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    auto sum = hn::Mul(hn::LoadU(df, rows[middle] + i), hn::Set(df, w[middle]));
    for (size_t d = 1; d <= middle; ++d) {
      const auto pair = hn::Add(hn::LoadU(df, rows[middle - d] + i), hn::LoadU(df, rows[middle + d] + i));
      sum = hn::Add(sum, hn::Mul(pair, hn::Set(df, w[middle + d])));
    }
    const auto clamped = hn::Min(hn::Max(sum, hn::Zero(df)), hn::Set(df, 255.0F));
    hn::StoreU(hn::DemoteTo(D8(), hn::NearestInt(clamped)), D8(), out + i);
  }
  for (; i < n; ++i) out[i] = RowValue(rows, w, middle, i);
}
// Of M values that hold the median the least and the greatest do not; one of the others yet to come takes their place.
template <size_t kSize, size_t M, class D>
HWY_INLINE hn::Vec<D> MedianOf(D d, hn::Vec<D>* v, const uint8_t* const* rows, size_t step, size_t next) {
  const auto order = [](hn::Vec<D>& a, hn::Vec<D>& b) HWY_ATTR {
    const auto low = hn::Min(a, b);
    b = hn::Max(a, b);
    a = low;
  };
  for (size_t i = 1; i < M; ++i) order(v[0], v[i]);
  for (size_t i = 1; i + 1 < M; ++i) order(v[i], v[M - 1]);
  if constexpr (M == 3) {
    return v[1];
  } else {
    v[0] = hn::LoadU(d, rows[next / kSize] + next % kSize * step);
    return MedianOf<kSize, M - 1>(d, v, rows, step, next + 1);
  }
}

template <size_t kSize>
void MedianRow(const uint8_t* const* rows, size_t step, size_t n, uint8_t* out) {
  constexpr size_t kFirst = kSize * kSize / 2 + 2;
  const hn::ScalableTag<uint8_t> d;
  const size_t lanes = hn::Lanes(d);
  if (n < lanes) return median_row_reference(rows, kSize, step, n, out);
  for (size_t i = 0; i < n; i += lanes) {
    i = HWY_MIN(i, n - lanes);  // the last vector begins earlier
    const uint8_t* at[kSize];
    for (size_t k = 0; k < kSize; ++k) at[k] = rows[k] + i;
    hn::Vec<decltype(d)> v[kFirst];
    for (size_t k = 0; k < kFirst; ++k) v[k] = hn::LoadU(d, at[k / kSize] + k % kSize * step);
    hn::StoreU(MedianOf<kSize, kFirst>(d, v, at, step, kFirst), d, out + i);
  }
}

void Median(const uint8_t* const* rows, size_t size, size_t step, size_t n, uint8_t* out) {
  return size == 3 ? MedianRow<3>(rows, step, n, out) : MedianRow<5>(rows, step, n, out);
}

void Mean(const uint8_t* const* taps, size_t count, size_t n, uint8_t* out) {
  const DI di;
  const hn::RebindToUnsigned<DI> du;
  const size_t lanes = hn::Lanes(di);
  // sum + count / 2 <= 255.5 count times the reciprocal of count: exact, and below 2^32, for count up to 255.
  const auto reciprocal = hn::Set(du, static_cast<uint32_t>(((1U << 24) + count - 1) / count));
  if (n < lanes) return mean_row_reference(taps, count, n, out);
  for (size_t i = 0; i < n; i += lanes) {
    i = HWY_MIN(i, n - lanes);
    auto sum = hn::Set(di, static_cast<int32_t>(count / 2));
    for (size_t k = 0; k < count; ++k) sum = hn::Add(sum, Whole(taps[k] + i));
    const auto mean = hn::ShiftRight<24>(hn::Mul(hn::BitCast(du, sum), reciprocal));
    hn::StoreU(hn::DemoteTo(D8(), hn::BitCast(di, mean)), D8(), out + i);
  }
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace ballast::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast::detail {

HWY_EXPORT(Sharpen);
HWY_EXPORT(Columns);
HWY_EXPORT(Rows);
HWY_EXPORT(Median);
HWY_EXPORT(Mean);

void sharpen_row_reference(const uint8_t* a, const uint8_t* r, const uint8_t* b, ptrdiff_t step, size_t n, float f,
                           float g, uint8_t* out) {
  for (size_t i = 0; i < n; ++i) {
    int s = 5 * r[i] + (r + i)[-step] + (r + i)[step];
    for (const uint8_t* p : {a + i, b + i}) s += p[-step] + p[0] + p[step];
    const float v = static_cast<float>(r[i]) * f + static_cast<float>((2 * s + 13) / 26) * g;
    out[i] = static_cast<uint8_t>(std::clamp(v, 0.0F, 255.0F));
  }
}

void blur_columns_reference(const uint8_t* in, size_t n, size_t step, const float* w, size_t taps, float* out) {
  const size_t middle = taps / 2;
  for (size_t i = 0; i < n; ++i) {
    const uint8_t* p = in + i + middle * step;
    float sum = static_cast<float>(p[0]) * w[middle];
    for (size_t d = 1; d <= middle; ++d) sum += static_cast<float>(*(p - d * step) + p[d * step]) * w[middle + d];
    out[i] = sum;
  }
}

void blur_rows_reference(const float* const* rows, const float* w, size_t taps, size_t n, uint8_t* out) {
  const size_t middle = taps / 2;
  for (size_t i = 0; i < n; ++i) {
    float sum = rows[middle][i] * w[middle];
    for (size_t d = 1; d <= middle; ++d) sum += (rows[middle - d][i] + rows[middle + d][i]) * w[middle + d];
    out[i] = static_cast<uint8_t>(std::nearbyint(std::clamp(sum, 0.0F, 255.0F)));
  }
}

void sharpen_row(const uint8_t* a, const uint8_t* r, const uint8_t* b, ptrdiff_t step, size_t n, float f, float g,
                 uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(Sharpen)(a, r, b, step, n, f, g, out);
}
void blur_columns(const uint8_t* in, size_t n, size_t step, const float* w, size_t taps, float* out) {
  HWY_DYNAMIC_DISPATCH(Columns)(in, n, step, w, taps, out);
}
void blur_rows(const float* const* rows, const float* w, size_t taps, size_t n, uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(Rows)(rows, w, taps, n, out);
}

void median_row_reference(const uint8_t* const* rows, size_t size, size_t step, size_t n, uint8_t* out) {
  std::array<uint8_t, 25> values{};
  const auto middle = values.begin() + static_cast<ptrdiff_t>(size * size / 2), end = values.begin() + static_cast<ptrdiff_t>(size * size);
  for (size_t i = 0; i < n; ++i) {
    for (size_t k = 0; k < size * size; ++k) values[k] = rows[k / size][i + k % size * step];
    std::nth_element(values.begin(), middle, end);
    out[i] = *middle;
  }
}

void mean_row_reference(const uint8_t* const* taps, size_t count, size_t n, uint8_t* out) {
  for (size_t i = 0; i < n; ++i) {
    size_t sum = 0;
    for (size_t k = 0; k < count; ++k) sum += taps[k][i];
    out[i] = static_cast<uint8_t>((2 * sum + count) / (2 * count));
  }
}

void median_row(const uint8_t* const* rows, size_t size, size_t step, size_t n, uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(Median)(rows, size, step, n, out);
}
void mean_row(const uint8_t* const* taps, size_t count, size_t n, uint8_t* out) { HWY_DYNAMIC_DISPATCH(Mean)(taps, count, n, out); }

}  // namespace ballast::detail
#endif
