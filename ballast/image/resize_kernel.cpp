#include <ballast/image/resize_kernel.h>

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/image/resize_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ballast::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR

void Horizontal(const uint8_t* in, ptrdiff_t in_stride, int32_t rows, int32_t, int32_t c, const TapsView& taps,
                uint8_t* out, ptrdiff_t out_stride, uint8_t*) {
  horizontal_pass_reference(in, in_stride, rows, c, taps, out, out_stride);
}
void Vertical(const uint8_t* in, ptrdiff_t in_stride, size_t n, const TapsView& taps, int32_t i, uint8_t* out) {
  vertical_pass_reference(in, in_stride, n, taps, i, out);
}

#else

using D8 = hn::CappedTag<uint8_t, 16>;
using D16 = hn::Repartition<uint16_t, D8>;
using D32 = hn::Repartition<uint32_t, D8>;
using D64 = hn::Repartition<uint64_t, D8>;
using V8 = hn::Vec<D8>;

/// 8 rows of 8 two-byte elements to 8 columns.
HWY_INLINE void Transpose8(V8 (&v)[8]) {
  const D8 d8;
  const D16 d16;
  const D32 d32;
  const D64 d64;
  V8 t[8];
  for (int i = 0; i < 4; ++i) {
    const auto a = hn::BitCast(d16, v[2 * i]), b = hn::BitCast(d16, v[2 * i + 1]);
    t[2 * i] = hn::BitCast(d8, hn::InterleaveLower(d16, a, b));
    t[2 * i + 1] = hn::BitCast(d8, hn::InterleaveUpper(d16, a, b));
  }
  V8 u[8];
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 2; ++j) {
      const auto a = hn::BitCast(d32, t[4 * i + j]), b = hn::BitCast(d32, t[4 * i + 2 + j]);
      u[4 * i + 2 * j] = hn::BitCast(d8, hn::InterleaveLower(d32, a, b));
      u[4 * i + 2 * j + 1] = hn::BitCast(d8, hn::InterleaveUpper(d32, a, b));
    }
  }
  for (int i = 0; i < 4; ++i) {
    const auto a = hn::BitCast(d64, u[i]), b = hn::BitCast(d64, u[4 + i]);
    v[2 * i] = hn::BitCast(d8, hn::InterleaveLower(d64, a, b));
    v[2 * i + 1] = hn::BitCast(d8, hn::InterleaveUpper(d64, a, b));
  }
}

// One step of the walk along 16 rows: `pixels` pixels of a row become `pairs` * c two-byte elements, each a pair of
// neighbouring pixels of one channel.
struct Unit {
  int32_t bytes, elements;
  uint8_t order[16];
};
constexpr Unit kUnit1 = {16, 8, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};
constexpr Unit kUnit3 = {12, 6, {0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11, 12, 12, 12, 12}};
constexpr Unit kUnit4 = {16, 8, {0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15}};

/// 16 rows of pixels to [pair of columns][channel][16 rows][2]. Missing rows repeat the last one.
HWY_INLINE void LoadStrip(const uint8_t* in, ptrdiff_t stride, int32_t rows, int32_t bytes, const Unit& unit,
                          uint8_t* strip) {
  const D8 d8;
  const auto order = hn::LoadU(d8, unit.order);
  const uint8_t* row[16];
  for (int r = 0; r < 16; ++r) row[r] = in + std::min(r, rows - 1) * stride;
  HWY_ALIGN uint8_t tail[16][16];
  for (int32_t at = 0; at < bytes; at += unit.bytes, strip += 32 * unit.elements) {
    const bool whole = at + 16 <= bytes;
    if (!whole) {
      for (int r = 0; r < 16; ++r) std::memcpy(tail[r], row[r] + at, static_cast<size_t>(bytes - at));
    }
    for (int half = 0; half < 2; ++half) {
      V8 v[8];
      for (int r = 0; r < 8; ++r) {
        const uint8_t* p = whole ? row[8 * half + r] + at : tail[8 * half + r];
        v[r] = hn::TableLookupBytes(hn::LoadU(d8, p), order);
      }
      Transpose8(v);
      for (int e = 0; e < unit.elements; ++e) hn::Store(v[e], d8, strip + 32 * e + 16 * half);
    }
  }
}

/// [n columns][16 rows] of bytes to rows; n is at least 16, or the columns have room for 16.
HWY_INLINE void StoreStrip(const uint8_t* columns, int32_t n, uint8_t* out, ptrdiff_t stride, int32_t rows) {
  const D8 d8;
  for (int32_t at = 0; at < n; at += 16) {
    // The last block overlaps the one before it, so that nothing is written behind the rows.
    const int32_t x = n >= 16 ? std::min(at, n - 16) : 0;
    V8 low[8], high[8];
    for (int i = 0; i < 8; ++i) {
      // Columns 2i and 2i + 1: rows as two-byte elements.
      const V8 a = hn::Load(d8, columns + 16 * (x + 2 * i)), b = hn::Load(d8, columns + 16 * (x + 2 * i + 1));
      low[i] = hn::InterleaveLower(d8, a, b);
      high[i] = hn::InterleaveUpper(d8, a, b);
    }
    Transpose8(low);
    Transpose8(high);
    for (int r = 0; r < rows; ++r) {
      const V8 v = r < 8 ? low[r] : high[r - 8];
      if (n >= 16) {
        hn::StoreU(v, d8, out + r * stride + x);
      } else {
        HWY_ALIGN uint8_t bytes[16];
        hn::Store(v, d8, bytes);
        std::memcpy(out + r * stride, bytes, static_cast<size_t>(n));
      }
    }
  }
}

void Horizontal(const uint8_t* in, ptrdiff_t in_stride, int32_t rows, int32_t w, int32_t c, const TapsView& taps,
                uint8_t* out, ptrdiff_t out_stride, uint8_t* scratch) {
  const hn::CappedTag<int16_t, 32> d16;
  const hn::Repartition<int32_t, decltype(d16)> d32;
  const hn::Rebind<uint8_t, decltype(d16)> d8;
  const hn::Rebind<uint8_t, decltype(d32)> d8_out;
  const int32_t lanes = static_cast<int32_t>(hn::Lanes(d32));
  const Unit& unit = c == 1 ? kUnit1 : c == 3 ? kUnit3 : kUnit4;
  uint8_t* columns = scratch;
  uint8_t* strip = scratch + (int64_t{16} * c * taps.count + 16 * 16 + 63) / 64 * 64;
  const auto half = hn::Set(d32, 1 << 21);
  const int32_t pairs = taps.stride / 2;
  for (int32_t y = 0; y < rows; y += 16) {
    const int32_t n = std::min(16, rows - y);
    LoadStrip(in + y * in_stride, in_stride, n, w * c, unit, strip);
    for (int32_t x = 0; x < taps.count; ++x) {
      const uint8_t* p0 = strip + static_cast<ptrdiff_t>(taps.start[x] / 2) * c * 32;
      const int32_t* high = taps.high_pairs + static_cast<ptrdiff_t>(x) * pairs;
      const int32_t* low = taps.low_pairs + static_cast<ptrdiff_t>(x) * pairs;
      for (int32_t r = 0; r < 16; r += lanes) {
        for (int32_t j = 0; j < c; ++j) {
          const uint8_t* p = p0 + j * 32 + r * 2;
          auto sum_high = hn::Zero(d32), sum_low = hn::Zero(d32);
          // Stays zero on x86; elsewhere the sums are spread over two vectors.
          auto rest_high = hn::Zero(d32), rest_low = hn::Zero(d32);
          for (int32_t k = 0; k < pairs; ++k, p += 32 * c) {
            const auto v = hn::PromoteTo(d16, hn::LoadU(d8, p));
            sum_high = hn::ReorderWidenMulAccumulate(d32, v, hn::BitCast(d16, hn::Set(d32, high[k])), sum_high, rest_high);
            sum_low = hn::ReorderWidenMulAccumulate(d32, v, hn::BitCast(d16, hn::Set(d32, low[k])), sum_low, rest_low);
          }
          sum_high = hn::RearrangeToOddPlusEven(sum_high, rest_high);
          sum_low = hn::Add(hn::RearrangeToOddPlusEven(sum_low, rest_low), half);
          const auto sum = hn::ShiftRight<22>(hn::Add(hn::ShiftLeft<11>(sum_high), sum_low));
          hn::StoreU(hn::DemoteTo(d8_out, sum), d8_out, columns + (static_cast<ptrdiff_t>(x) * c + j) * 16 + r);
        }
      }
    }
    StoreStrip(columns, taps.count * c, out + y * out_stride, out_stride, n);
  }
}

void Vertical(const uint8_t* in, ptrdiff_t in_stride, size_t n, const TapsView& taps, int32_t i, uint8_t* out) {
  const hn::CappedTag<int16_t, 32> d16;
  const hn::Repartition<int32_t, decltype(d16)> d32;
  const hn::Rebind<uint8_t, decltype(d16)> d8;
  const size_t lanes = hn::Lanes(d16);
  if (n < lanes) {
    vertical_pass_reference(in, in_stride, n, taps, i, out);
    return;
  }
  const int32_t pairs = taps.stride / 2, last = taps.taps[i] - 1;
  const int32_t* high = taps.high_pairs + static_cast<ptrdiff_t>(i) * pairs;
  const int32_t* low = taps.low_pairs + static_cast<ptrdiff_t>(i) * pairs;
  const uint8_t* first = in + taps.start[i] * in_stride;
  const int32_t used = last / 2 + 1;
  for (size_t at = 0; at < n; at += lanes) {
    const size_t x = std::min(at, n - lanes);
    auto high_a = hn::Zero(d32), high_b = high_a;
    auto low_a = hn::Set(d32, 1 << 21), low_b = low_a;
    for (int32_t k = 0; k < used; ++k) {
      const uint8_t* p = first + 2 * k * in_stride + x;
      const uint8_t* q = 2 * k < last ? p + in_stride : p;
      const auto v = hn::PromoteTo(d16, hn::LoadU(d8, p)), w = hn::PromoteTo(d16, hn::LoadU(d8, q));
      const auto a = hn::InterleaveLower(d16, v, w), b = hn::InterleaveUpper(d16, v, w);
      const auto wh = hn::BitCast(d16, hn::Set(d32, high[k])), wl = hn::BitCast(d16, hn::Set(d32, low[k]));
      auto rest = hn::Zero(d32);
      const auto dot = [&](auto pixels, auto weights) HWY_ATTR {
        rest = hn::Zero(d32);
        const auto s = hn::ReorderWidenMulAccumulate(d32, pixels, weights, hn::Zero(d32), rest);
        return hn::RearrangeToOddPlusEven(s, rest);
      };
      high_a = hn::Add(high_a, dot(a, wh));
      high_b = hn::Add(high_b, dot(b, wh));
      low_a = hn::Add(low_a, dot(a, wl));
      low_b = hn::Add(low_b, dot(b, wl));
    }
    const auto sum_a = hn::ShiftRight<22>(hn::Add(hn::ShiftLeft<11>(high_a), low_a));
    const auto sum_b = hn::ShiftRight<22>(hn::Add(hn::ShiftLeft<11>(high_b), low_b));
    hn::StoreU(hn::DemoteTo(d8, hn::ReorderDemote2To(d16, sum_a, sum_b)), d8, out + x);
  }
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace ballast::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast::detail {

HWY_EXPORT(Horizontal);
HWY_EXPORT(Vertical);

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
        for (int32_t k = 0; k < taps.taps[x]; ++k) sum += p[(taps.start[x] + k) * c + j] * w[k];
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
    for (int32_t k = 0; k < taps.taps[i]; ++k) sum += p[k * in_stride + static_cast<ptrdiff_t>(x)] * w[k];
    out[x] = finish(sum);
  }
}

size_t horizontal_scratch(int32_t w, int32_t count, int32_t c, int32_t stride) {
  const int64_t columns = (int64_t{16} * c * count + 16 * 16 + 63) / 64 * 64;
  // Weights behind the last tap are 0, but pixels are loaded for them; the last unit may be cut.
  const int64_t strip = 32 * int64_t{c} * ((w + stride) / 2 + 1) + 32 * 8 + 64;
  return static_cast<size_t>(columns + strip);
}

void horizontal_pass(const uint8_t* in, ptrdiff_t in_stride, int32_t rows, int32_t w, int32_t c,
                     const TapsView& taps, uint8_t* out, ptrdiff_t out_stride, uint8_t* scratch) {
  HWY_DYNAMIC_DISPATCH(Horizontal)(in, in_stride, rows, w, c, taps, out, out_stride, scratch);
}

void vertical_pass(const uint8_t* in, ptrdiff_t in_stride, size_t n, const TapsView& taps, int32_t i,
                   uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(Vertical)(in, in_stride, n, taps, i, out);
}

}  // namespace ballast::detail
#endif
