#include <ballast/image/color_kernel.h>

#include <algorithm>
#include <cmath>

#if defined(__x86_64__)
#ifndef BALLAST_COLOR_KERNEL_VBMI
#define BALLAST_COLOR_KERNEL_VBMI
#include <immintrin.h>

namespace ballast::detail {
namespace {

// Look-ups of 256 entries in four registers: AVX-512 VBMI, which no target of Highway stands for alone.
#define BALLAST_VBMI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi")))

bool has_vbmi() {
  static const bool has = __builtin_cpu_supports("avx512vbmi") != 0;
  return has;
}

struct Entries {
  __m512i a, b, c, d;
};
BALLAST_VBMI inline Entries load_entries(const uint8_t* table) {
  return {_mm512_loadu_si512(table), _mm512_loadu_si512(table + 64), _mm512_loadu_si512(table + 128),
          _mm512_loadu_si512(table + 192)};
}
BALLAST_VBMI inline __m512i look_up(const Entries& e, __m512i x) {
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), _mm512_permutex2var_epi8(e.a, x, e.b),
                                _mm512_permutex2var_epi8(e.c, x, e.d));
}
BALLAST_VBMI inline __mmask64 first(size_t n) { return n >= 64 ? ~__mmask64{0} : (__mmask64{1} << n) - 1; }

BALLAST_VBMI void table_vbmi(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* table) {
  const Entries e = load_entries(table);
  for (size_t i = 0; i < n; i += 64) {
    const __mmask64 some = first(n - i);
    _mm512_mask_storeu_epi8(out + i, some, look_up(e, _mm512_maskz_loadu_epi8(some, in + i)));
  }
}

BALLAST_VBMI void tables3_vbmi(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* tables) {
  const Entries r = load_entries(tables), g = load_entries(tables + 256), b = load_entries(tables + 512);
  // Bytes 0, 3, 6, ... of a vector; 64 = 21 * 3 + 1, so that the next begins one channel later.
  constexpr __mmask64 kThirds = 0x9249249249249249;
  const __mmask64 of[3] = {kThirds, kThirds << 2, kThirds << 1};
  for (size_t i = 0, phase = 0; i < 3 * n; i += 64, phase = (phase + 1) % 3) {
    const __mmask64 some = first(3 * n - i);
    const __m512i x = _mm512_maskz_loadu_epi8(some, in + i);
    // Byte p holds channel (p + phase) % 3.
    const __m512i rg = _mm512_mask_blend_epi8(of[phase], look_up(g, x), look_up(r, x));
    _mm512_mask_storeu_epi8(out + i, some, _mm512_mask_blend_epi8(of[(phase + 1) % 3], rg, look_up(b, x)));
  }
}
#undef BALLAST_VBMI

}  // namespace
}  // namespace ballast::detail
#endif
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/image/color_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ballast::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR

void Chain(const uint8_t* in, uint8_t* out, size_t n, int32_t c, const ColorStep* steps, size_t count) {
  color_chain_reference(in, out, n, c, steps, count);
}
uint64_t ChainSum(const uint8_t* in, uint8_t* out, size_t n, int32_t c, const ColorStep* steps, size_t count) {
  const uint64_t sum = gray_sum_reference(in, n, c, steps, count);
  color_chain_reference(in, out, n, c, steps, count);
  return sum;
}
uint64_t GraySum(const uint8_t* in, size_t n, int32_t c, const ColorStep* steps, size_t count) {
  return gray_sum_reference(in, n, c, steps, count);
}
void Table(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* table) { apply_table_reference(in, out, n, table); }
void Tables3(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* tables) {
  apply_tables3_reference(in, out, n, tables);
}

#else

using D8 = hn::CappedTag<uint8_t, 16>;
using DF = hn::CappedTag<float, 16>;
using VF = hn::Vec<DF>;
constexpr size_t kStripe = 256;

/// Three planes of a stripe of pixels, as floats.
struct Planes {
  HWY_ALIGN float v[3][kStripe];
};

HWY_INLINE void Spread(const uint8_t* bytes, float* out) {
  const DF df;
  const hn::Rebind<uint8_t, DF> d8;
  const hn::Rebind<int32_t, DF> di;
  for (size_t i = 0; i < 16; i += hn::Lanes(df)) {
    hn::Store(hn::ConvertTo(df, hn::PromoteTo(di, hn::LoadU(d8, bytes + i))), df, out + i);
  }
}

HWY_INLINE void Gather8(const float* in, uint8_t* bytes) {
  const DF df;
  const hn::Rebind<uint8_t, DF> d8;
  const hn::Rebind<int32_t, DF> di;
  for (size_t i = 0; i < 16; i += hn::Lanes(df)) {
    hn::StoreU(hn::DemoteTo(d8, hn::ConvertTo(di, hn::Load(df, in + i))), d8, bytes + i);
  }
}

/// Whole blocks of 16; the lanes behind n are 0.
HWY_INLINE void LoadPlanes(const uint8_t* in, size_t n, int32_t c, Planes& p) {
  const D8 d8;
  HWY_ALIGN uint8_t bytes[3][16];
  for (size_t x = 0; x < n; x += 16) {
    const uint8_t* pixel = in + x * static_cast<size_t>(c);
    if (c == 3 && x + 16 <= n) {
      auto r = hn::Undefined(d8), g = r, b = r;
      hn::LoadInterleaved3(d8, pixel, r, g, b);
      hn::Store(r, d8, bytes[0]);
      hn::Store(g, d8, bytes[1]);
      hn::Store(b, d8, bytes[2]);
    } else {
      for (size_t i = 0; i < 16; ++i) {
        for (size_t j = 0; j < 3; ++j) bytes[j][i] = x + i < n ? pixel[i * static_cast<size_t>(c) + j] : uint8_t{0};
      }
    }
    for (size_t j = 0; j < 3; ++j) Spread(bytes[j], p.v[j] + x);
  }
}

HWY_INLINE void StorePlanes(const Planes& p, const uint8_t* in, uint8_t* out, size_t n, int32_t c) {
  const D8 d8;
  HWY_ALIGN uint8_t bytes[3][16];
  for (size_t x = 0; x < n; x += 16) {
    for (size_t j = 0; j < 3; ++j) Gather8(p.v[j] + x, bytes[j]);
    uint8_t* pixel = out + x * static_cast<size_t>(c);
    if (c == 3 && x + 16 <= n) {
      hn::StoreInterleaved3(hn::Load(d8, bytes[0]), hn::Load(d8, bytes[1]), hn::Load(d8, bytes[2]), d8, pixel);
      continue;
    }
    for (size_t i = 0; i < 16 && x + i < n; ++i) {
      const size_t at = i * static_cast<size_t>(c);
      for (size_t j = 0; j < 3; ++j) pixel[at + j] = bytes[j][i];
      if (c == 4) pixel[at + 3] = in[(x + i) * 4 + 3];
    }
  }
}

HWY_INLINE VF Clamped(VF v) {
  const DF df;
  return hn::Trunc(hn::Min(hn::Max(v, hn::Zero(df)), hn::Set(df, 255.0F)));
}

HWY_INLINE VF Gray(VF r, VF g, VF b) {
  const DF df;
  const auto rg = hn::Add(hn::Mul(r, hn::Set(df, 0.2989F)), hn::Mul(g, hn::Set(df, 0.587F)));
  return hn::Floor(hn::Add(rg, hn::Mul(b, hn::Set(df, 0.114F))));
}

/// HSV's hue in levels: with M the largest channel, m the smallest and D = M - m, the three corners of HSV's formula are
/// m, M - D t and m + D t, so that one division is left.
HWY_INLINE void TurnHue(float shift, VF& r, VF& g, VF& b) {
  const DF df;
  const auto one = hn::Set(df, 1.0F), zero = hn::Zero(df), six = hn::Set(df, 6.0F);
  const auto high = hn::Max(r, hn::Max(g, b)), low = hn::Min(r, hn::Min(g, b));
  const auto range = hn::Sub(high, low);
  const auto is_red = hn::Eq(high, r), is_green = hn::Eq(high, g);
  const auto numerator = hn::IfThenElse(is_red, hn::Sub(g, b), hn::IfThenElse(is_green, hn::Sub(b, r), hn::Sub(r, g)));
  const auto offset = hn::IfThenElse(is_red, zero, hn::IfThenElse(is_green, hn::Set(df, 2.0F), hn::Set(df, 4.0F)));
  const auto sector = hn::Add(hn::Div(numerator, hn::Max(range, one)), offset);
  auto h = hn::Add(sector, hn::Set(df, 6.0F * shift));
  h = hn::IfThenElse(hn::Lt(h, zero), hn::Add(h, six), h);
  h = hn::IfThenElse(hn::Ge(h, six), hn::Sub(h, six), h);
  h = hn::IfThenElse(hn::Ge(h, six), zero, h);
  const auto i = hn::Floor(h);
  const auto step = hn::Mul(range, hn::Sub(h, i));
  const auto q = hn::Sub(high, step), w = hn::Add(low, step);
  const auto i1 = hn::Eq(i, one), i2 = hn::Eq(i, hn::Set(df, 2.0F)), i3 = hn::Eq(i, hn::Set(df, 3.0F)),
             i4 = hn::Eq(i, hn::Set(df, 4.0F)), i0 = hn::Eq(i, zero), i5 = hn::Eq(i, hn::Set(df, 5.0F));
  const auto red = hn::IfThenElse(hn::Or(i2, i3), low, hn::IfThenElse(i1, q, hn::IfThenElse(i4, w, high)));
  const auto green = hn::IfThenElse(hn::Or(i4, i5), low, hn::IfThenElse(i3, q, hn::IfThenElse(i0, w, high)));
  const auto blue = hn::IfThenElse(hn::Or(i0, i1), low, hn::IfThenElse(i5, q, hn::IfThenElse(i2, w, high)));
  const auto levels = hn::Set(df, 255.999F / 255.0F);
  const auto bytes = [&](VF v) { return hn::Floor(hn::Mul(v, levels)); };
  r = bytes(red);
  g = bytes(green);
  b = bytes(blue);
}

template <class Body>
HWY_INLINE void EachVector(Planes& p, size_t n, Body&& body) {
  const DF df;
  for (size_t x = 0; x < n; x += hn::Lanes(df)) {
    auto r = hn::Load(df, p.v[0] + x), g = hn::Load(df, p.v[1] + x), b = hn::Load(df, p.v[2] + x);
    body(r, g, b);
    hn::Store(r, df, p.v[0] + x);
    hn::Store(g, df, p.v[1] + x);
    hn::Store(b, df, p.v[2] + x);
  }
}

void RunSteps(Planes& p, size_t n, const ColorStep* steps, size_t count) {
  const DF df;
  for (size_t k = 0; k < count; ++k) {
    const ColorStep& s = steps[k];
    const auto f = hn::Set(df, s.f), g1 = hn::Set(df, s.g);
    switch (s.kind) {
      case ColorStep::Kind::brightness:
        EachVector(p, n, [&](VF& r, VF& g, VF& b) HWY_ATTR {
          r = Clamped(hn::Mul(r, f));
          g = Clamped(hn::Mul(g, f));
          b = Clamped(hn::Mul(b, f));
        });
        break;
      case ColorStep::Kind::contrast: {
        const auto rest = hn::Mul(g1, hn::Set(df, s.level));
        EachVector(p, n, [&](VF& r, VF& g, VF& b) HWY_ATTR {
          r = Clamped(hn::Add(hn::Mul(r, f), rest));
          g = Clamped(hn::Add(hn::Mul(g, f), rest));
          b = Clamped(hn::Add(hn::Mul(b, f), rest));
        });
        break;
      }
      case ColorStep::Kind::saturation:
        EachVector(p, n, [&](VF& r, VF& g, VF& b) HWY_ATTR {
          const auto rest = hn::Mul(g1, Gray(r, g, b));
          r = Clamped(hn::Add(hn::Mul(r, f), rest));
          g = Clamped(hn::Add(hn::Mul(g, f), rest));
          b = Clamped(hn::Add(hn::Mul(b, f), rest));
        });
        break;
      case ColorStep::Kind::hue:
        EachVector(p, n, [&](VF& r, VF& g, VF& b) HWY_ATTR { TurnHue(s.f, r, g, b); });
        break;
      case ColorStep::Kind::grayscale:
        EachVector(p, n, [&](VF& r, VF& g, VF& b) HWY_ATTR { r = g = b = Gray(r, g, b); });
        break;
    }
  }
}

/// Sum of gray of n pixels.
HWY_INLINE uint64_t SumGray(const Planes& p, size_t n) {
  const DF df;
  // Whole numbers up to 255 * 256: sums of floats are exact.
  auto sum = hn::Zero(df);
  size_t x = 0;
  for (; x + hn::Lanes(df) <= n; x += hn::Lanes(df)) {
    sum = hn::Add(sum, Gray(hn::Load(df, p.v[0] + x), hn::Load(df, p.v[1] + x), hn::Load(df, p.v[2] + x)));
  }
  auto total = static_cast<uint64_t>(hn::GetLane(hn::SumOfLanes(df, sum)));
  for (; x < n; ++x) {
    total += static_cast<uint64_t>(std::floor(p.v[0][x] * 0.2989F + p.v[1][x] * 0.587F + p.v[2][x] * 0.114F));
  }
  return total;
}

/// The chain from `in` to `out` (null: nowhere), and the sum of gray if asked for.
template <bool kSum>
HWY_INLINE uint64_t Run(const uint8_t* in, uint8_t* out, size_t n, int32_t c, const ColorStep* steps, size_t count) {
  Planes p;
  uint64_t total = 0;
  for (size_t at = 0; at < n; at += kStripe) {
    const size_t m = std::min(kStripe, n - at), bytes = at * static_cast<size_t>(c);
    LoadPlanes(in + bytes, m, c, p);
    RunSteps(p, m, steps, count);
    if (kSum) total += SumGray(p, m);
    if (out != nullptr) StorePlanes(p, in + bytes, out + bytes, m, c);
  }
  return total;
}

void Chain(const uint8_t* in, uint8_t* out, size_t n, int32_t c, const ColorStep* steps, size_t count) {
  Run<false>(in, out, n, c, steps, count);
}
uint64_t ChainSum(const uint8_t* in, uint8_t* out, size_t n, int32_t c, const ColorStep* steps, size_t count) {
  return Run<true>(in, out, n, c, steps, count);
}
uint64_t GraySum(const uint8_t* in, size_t n, int32_t c, const ColorStep* steps, size_t count) {
  return Run<true>(in, nullptr, n, c, steps, count);
}

using DT = hn::ScalableTag<uint8_t>;

/// Byte-wise look-up in 256 entries: sixteen shuffles, each for the bytes of one high nibble; the others have their top
/// bit set, for which the shuffle gives 0.
HWY_INLINE hn::Vec<DT> LookUp(hn::Vec<DT> x, const uint8_t* table) {
  const DT d;
  auto out = hn::Zero(d);
  const auto lift = hn::Set(d, uint8_t{0x70});
  for (size_t k = 0; k < 16; ++k) {
    const auto high = hn::Set(d, static_cast<uint8_t>(k << 4));
    const auto index = hn::SaturatedAdd(hn::Xor(x, high), lift);
    out = hn::Or(out, hn::TableLookupBytesOr0(hn::LoadDup128(d, table + 16 * k), index));
  }
  return out;
}

void Table(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* table) {
#if HWY_TARGET == HWY_AVX3
  if (has_vbmi()) return table_vbmi(in, out, n, table);
#endif
  const DT d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(LookUp(hn::LoadU(d, in + i), table), d, out + i);
  for (; i < n; ++i) out[i] = table[in[i]];
}

void Tables3(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* tables) {
#if HWY_TARGET == HWY_AVX3
  if (has_vbmi()) return tables3_vbmi(in, out, n, tables);
#endif
  const DT d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    auto r = hn::Undefined(d), g = r, b = r;
    hn::LoadInterleaved3(d, in + 3 * i, r, g, b);
    hn::StoreInterleaved3(LookUp(r, tables), LookUp(g, tables + 256), LookUp(b, tables + 512), d, out + 3 * i);
  }
  apply_tables3_reference(in + 3 * i, out + 3 * i, n - i, tables);
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace ballast::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast::detail {

HWY_EXPORT(Chain);
HWY_EXPORT(ChainSum);
HWY_EXPORT(GraySum);
HWY_EXPORT(Table);
HWY_EXPORT(Tables3);

namespace {

float clamped(float v) { return std::trunc(std::min(std::max(v, 0.0F), 255.0F)); }
float gray_of(const float* p) { return std::floor(p[0] * 0.2989F + p[1] * 0.587F + p[2] * 0.114F); }

void turn_hue(float shift, float* p) {
  const float r = p[0], g = p[1], b = p[2];
  const float high = std::max(r, std::max(g, b)), low = std::min(r, std::min(g, b)), range = high - low;
  const float numerator = high == r ? g - b : high == g ? b - r : r - g;
  const float offset = high == r ? 0.0F : high == g ? 2.0F : 4.0F;
  float h = numerator / std::max(range, 1.0F) + offset + 6.0F * shift;
  if (h < 0) h += 6.0F;
  if (h >= 6) h -= 6.0F;
  if (h >= 6) h = 0;
  const float i = std::floor(h), step = range * (h - i);
  const float q = high - step, w = low + step;
  const float turned[6][3] = {{high, w, low}, {q, high, low}, {low, high, w}, {low, q, high}, {w, low, high}, {high, low, q}};
  const float* out = turned[static_cast<int>(i)];
  for (int j = 0; j < 3; ++j) p[j] = std::floor(out[j] * (255.999F / 255.0F));
}

void run_steps(float* p, const ColorStep* steps, size_t count) {
  for (size_t k = 0; k < count; ++k) {
    const ColorStep& s = steps[k];
    const float gray = gray_of(p);
    switch (s.kind) {
      case ColorStep::Kind::brightness:
        for (int j = 0; j < 3; ++j) p[j] = clamped(p[j] * s.f);
        break;
      case ColorStep::Kind::contrast:
        for (int j = 0; j < 3; ++j) p[j] = clamped(p[j] * s.f + s.g * s.level);
        break;
      case ColorStep::Kind::saturation:
        for (int j = 0; j < 3; ++j) p[j] = clamped(p[j] * s.f + s.g * gray);
        break;
      case ColorStep::Kind::hue: turn_hue(s.f, p); break;
      case ColorStep::Kind::grayscale: p[0] = p[1] = p[2] = gray; break;
    }
  }
}

void load(const uint8_t* in, float* p) {
  for (int j = 0; j < 3; ++j) p[j] = static_cast<float>(in[j]);
}

}  // namespace

void color_chain_reference(const uint8_t* in, uint8_t* out, size_t n, int32_t c, const ColorStep* steps,
                           size_t count) {
  for (size_t i = 0; i < n; ++i, in += c, out += c) {
    float p[3];
    load(in, p);
    run_steps(p, steps, count);
    for (int j = 0; j < 3; ++j) out[j] = static_cast<uint8_t>(p[j]);
    if (c == 4) out[3] = in[3];
  }
}

uint64_t gray_sum_reference(const uint8_t* in, size_t n, int32_t c, const ColorStep* steps, size_t count) {
  uint64_t total = 0;
  for (size_t i = 0; i < n; ++i, in += c) {
    float p[3];
    load(in, p);
    run_steps(p, steps, count);
    total += static_cast<uint64_t>(gray_of(p));
  }
  return total;
}

void apply_table_reference(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* table) {
  for (size_t i = 0; i < n; ++i) out[i] = table[in[i]];
}

void apply_tables3_reference(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* tables) {
  for (size_t i = 0; i < n; ++i, in += 3, out += 3) {
    for (size_t j = 0; j < 3; ++j) out[j] = tables[256 * j + in[j]];
  }
}

void color_chain(const uint8_t* in, uint8_t* out, size_t n, int32_t c, const ColorStep* steps, size_t count) {
  HWY_DYNAMIC_DISPATCH(Chain)(in, out, n, c, steps, count);
}
uint64_t color_chain_sum(const uint8_t* in, uint8_t* out, size_t n, int32_t c, const ColorStep* steps, size_t count) {
  return HWY_DYNAMIC_DISPATCH(ChainSum)(in, out, n, c, steps, count);
}
uint64_t gray_sum(const uint8_t* in, size_t n, int32_t c, const ColorStep* steps, size_t count) {
  return HWY_DYNAMIC_DISPATCH(GraySum)(in, n, c, steps, count);
}
void apply_table(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* table) {
  HWY_DYNAMIC_DISPATCH(Table)(in, out, n, table);
}
void apply_tables3(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* tables) {
  HWY_DYNAMIC_DISPATCH(Tables3)(in, out, n, tables);
}

}  // namespace ballast::detail
#endif
