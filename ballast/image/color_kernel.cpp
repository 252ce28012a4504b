#include <ballast/image/color_kernel.h>

#include <algorithm>
#include <cmath>

#include <ballast/image/table_kernel.h>

#ifndef BALLAST_COLOR_KERNEL_CONSTANTS
#define BALLAST_COLOR_KERNEL_CONSTANTS
namespace ballast::detail {
namespace {
// In 1/65536, rounded down: their sum stays below 1, as that of the decimals does.
constexpr uint16_t kRed = 19588, kGreen = 38469, kBlue = 7471;
// A sixth of the circle.
constexpr float kSixth = 65536.0F / 6.0F;
constexpr uint16_t kSector = 10922, kTwoSectors = 21845, kFourSectors = 43691;
// Added before rounding down, in 1/128 level: more than what the parts before it can lose, so that corners stay whole.
constexpr uint16_t kHueBias = 3;
}  // namespace
}  // namespace ballast::detail
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

#else

using D16 = hn::CappedTag<uint16_t, 32>;
using DS = hn::Rebind<int16_t, D16>;
using D8 = hn::Rebind<uint8_t, D16>;
using V16 = hn::Vec<D16>;
using VS = hn::Vec<DS>;
constexpr size_t kStripe = 256;

/// Three planes of a stripe of pixels.
struct Planes {
  HWY_ALIGN uint8_t v[3][kStripe];
};

/// Whole vectors; the lanes behind n are 0.
HWY_INLINE void LoadPlanes(const uint8_t* in, size_t n, int32_t c, Planes& p) {
  const D8 d8;
  const size_t lanes = hn::Lanes(d8);
  auto r = hn::Undefined(d8), g = r, b = r, a = r;
  for (size_t x = 0; x < n; x += lanes) {
    const uint8_t* pixel = in + x * static_cast<size_t>(c);
    if (x + lanes > n) {
      for (size_t i = 0; i < lanes; ++i) {
        for (size_t j = 0; j < 3; ++j) p.v[j][x + i] = x + i < n ? pixel[i * static_cast<size_t>(c) + j] : uint8_t{0};
      }
      return;
    }
    if (c == 3) {
      hn::LoadInterleaved3(d8, pixel, r, g, b);
    } else {
      hn::LoadInterleaved4(d8, pixel, r, g, b, a);
    }
    hn::Store(r, d8, p.v[0] + x);
    hn::Store(g, d8, p.v[1] + x);
    hn::Store(b, d8, p.v[2] + x);
  }
}

HWY_INLINE void StorePlanes(const Planes& p, const uint8_t* in, uint8_t* out, size_t n, int32_t c) {
  const D8 d8;
  const size_t lanes = hn::Lanes(d8);
  for (size_t x = 0; x < n; x += lanes) {
    const size_t at = x * static_cast<size_t>(c);
    if (x + lanes > n) {
      for (size_t i = 0; x + i < n; ++i) {
        const size_t pixel = at + i * static_cast<size_t>(c);
        for (size_t j = 0; j < 3; ++j) out[pixel + j] = p.v[j][x + i];
        if (c == 4) out[pixel + 3] = in[pixel + 3];
      }
      return;
    }
    const auto r = hn::Load(d8, p.v[0] + x), g = hn::Load(d8, p.v[1] + x), b = hn::Load(d8, p.v[2] + x);
    if (c == 3) {
      hn::StoreInterleaved3(r, g, b, d8, out + at);
    } else {
      auto old_r = hn::Undefined(d8), old_g = old_r, old_b = old_r, alpha = old_r;
      hn::LoadInterleaved4(d8, in + at, old_r, old_g, old_b, alpha);
      hn::StoreInterleaved4(r, g, b, alpha, d8, out + at);
    }
  }
}

HWY_INLINE V16 Gray(V16 r, V16 g, V16 b) {
  const D16 d;
  const auto part = [&](V16 x, uint16_t weight) HWY_ATTR { return hn::MulHigh(hn::ShiftLeft<8>(x), hn::Set(d, weight)); };
  return hn::ShiftRight<8>(hn::Add(hn::Add(part(r, kRed), part(g, kGreen)), part(b, kBlue)));
}

/// round(65536 / 6 * numerator / range), |numerator| <= range, modulo 65536.
HWY_INLINE V16 Sixths(VS numerator, VS range) {
  const D16 d;
  const hn::Half<DS> half;
  const hn::Half<D16> narrow;
  const hn::Rebind<int32_t, decltype(half)> di;
  const hn::Rebind<uint32_t, decltype(half)> du;
  const hn::Rebind<float, decltype(half)> df;
  const auto divide = [&](hn::Vec<hn::Half<DS>> a, hn::Vec<hn::Half<DS>> b) HWY_ATTR {
    const auto scaled = hn::Mul(hn::ConvertTo(df, hn::PromoteTo(di, a)), hn::Set(df, kSixth));
    const auto quotient = hn::Div(scaled, hn::ConvertTo(df, hn::PromoteTo(di, b)));
    // 1.5 * 2^23: what is left of the sum's bits is the number rounded to the nearest whole one.
    return hn::TruncateTo(narrow, hn::BitCast(du, hn::Add(quotient, hn::Set(df, 12582912.0F))));
  };
  return hn::Combine(d, divide(hn::UpperHalf(half, numerator), hn::UpperHalf(half, range)),
                     divide(hn::LowerHalf(half, numerator), hn::LowerHalf(half, range)));
}

HWY_INLINE void TurnHue(uint16_t turn, V16& r, V16& g, V16& b) {
  const D16 d;
  const DS ds;
  const auto high = hn::Max(r, hn::Max(g, b)), low = hn::Min(r, hn::Min(g, b)), range = hn::Sub(high, low);
  const auto is_red = hn::Eq(high, r), is_green = hn::Eq(high, g);
  const auto numerator = hn::IfThenElse(is_red, hn::Sub(g, b), hn::IfThenElse(is_green, hn::Sub(b, r), hn::Sub(r, g)));
  const auto at = [&](uint16_t where) HWY_ATTR { return hn::Set(d, static_cast<uint16_t>(turn + where)); };
  const auto begin = hn::IfThenElse(is_red, at(0), hn::IfThenElse(is_green, at(kTwoSectors), at(kFourSectors)));
  const auto sixths = Sixths(hn::BitCast(ds, numerator), hn::BitCast(ds, hn::Max(range, hn::Set(d, uint16_t{1}))));
  const auto hue = hn::Add(begin, sixths);
  // The share of a sector times 4, and the range times 192: together 6 * 128.
  const auto top = hn::Add(hn::ShiftLeft<7>(high), hn::Set(d, kHueBias)), depth = hn::Mul(range, hn::Set(d, uint16_t{192}));
  // `centre`: where this channel is smallest, as an offset that brings it to 0.
  const auto channel = [&](uint16_t centre) HWY_ATTR {
    const auto away = hn::BitCast(d, hn::Abs(hn::BitCast(ds, hn::Add(hue, hn::Set(d, centre)))));
    const auto share = hn::Min(hn::SaturatedSub(hn::Set(d, kTwoSectors), away), hn::Set(d, kSector));
    return hn::ShiftRight<7>(hn::Sub(top, hn::MulHigh(depth, hn::ShiftLeft<2>(share))));
  };
  r = channel(uint16_t{32768});
  g = channel(uint16_t{10923});
  b = channel(static_cast<uint16_t>(65536 - 10923));
}

template <class Body>
HWY_INLINE void EachVector(Planes& p, size_t n, Body&& body) {
  const D16 d;
  const D8 d8;
  const DS ds;
  for (size_t x = 0; x < n; x += hn::Lanes(d)) {
    auto r = hn::PromoteTo(d, hn::Load(d8, p.v[0] + x)), g = hn::PromoteTo(d, hn::Load(d8, p.v[1] + x)),
         b = hn::PromoteTo(d, hn::Load(d8, p.v[2] + x));
    body(r, g, b);
    hn::Store(hn::DemoteTo(d8, hn::BitCast(ds, r)), d8, p.v[0] + x);
    hn::Store(hn::DemoteTo(d8, hn::BitCast(ds, g)), d8, p.v[1] + x);
    hn::Store(hn::DemoteTo(d8, hn::BitCast(ds, b)), d8, p.v[2] + x);
  }
}

void RunSteps(Planes& p, size_t n, const ColorStep* steps, size_t count) {
  const D16 d;
  const DS ds;
  for (size_t k = 0; k < count; ++k) {
    const ColorStep& s = steps[k];
    switch (s.kind) {
      case ColorStep::Kind::table:
        apply_table(p.v[0], p.v[0], 3 * kStripe, s.table.data());
        break;
      case ColorStep::Kind::saturation: {
        const auto factor = hn::Set(ds, s.factor);
        EachVector(p, n, [&](V16& r, V16& g, V16& b) HWY_ATTR {
          const auto gray = hn::BitCast(ds, Gray(r, g, b)), base = hn::ShiftLeftSame(gray, s.fraction);
          const auto blend = [&](V16 x) HWY_ATTR {
            const auto away = hn::ShiftLeft<7>(hn::Sub(hn::BitCast(ds, x), gray));
            return hn::BitCast(d, hn::ShiftRightSame(hn::Add(base, hn::MulFixedPoint15(away, factor)), s.fraction));
          };
          r = blend(r);
          g = blend(g);
          b = blend(b);
        });
        break;
      }
      case ColorStep::Kind::hue:
        EachVector(p, n, [&](V16& r, V16& g, V16& b) HWY_ATTR { TurnHue(s.turn, r, g, b); });
        break;
      case ColorStep::Kind::grayscale:
        EachVector(p, n, [&](V16& r, V16& g, V16& b) HWY_ATTR { r = g = b = Gray(r, g, b); });
        break;
    }
  }
}

/// Sum of gray of n pixels.
HWY_INLINE uint64_t SumGray(const Planes& p, size_t n) {
  const D16 d;
  const D8 d8;
  const hn::Half<D16> half;
  const hn::Rebind<uint32_t, decltype(half)> wide;
  // At most 256 / 8 values of 255 in a lane.
  auto sum = hn::Zero(d);
  for (size_t x = 0; x < n; x += hn::Lanes(d)) {
    const auto gray = Gray(hn::PromoteTo(d, hn::Load(d8, p.v[0] + x)), hn::PromoteTo(d, hn::Load(d8, p.v[1] + x)),
                           hn::PromoteTo(d, hn::Load(d8, p.v[2] + x)));
    sum = hn::Add(sum, hn::IfThenElseZero(hn::FirstN(d, n - x), gray));
  }
  const auto both = hn::Add(hn::PromoteTo(wide, hn::LowerHalf(half, sum)), hn::PromoteTo(wide, hn::UpperHalf(half, sum)));
  return hn::GetLane(hn::SumOfLanes(wide, both));
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

#endif

}  // namespace HWY_NAMESPACE
}  // namespace ballast::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast::detail {

HWY_EXPORT(Chain);
HWY_EXPORT(ChainSum);
HWY_EXPORT(GraySum);

namespace {

template <class Rule>
ColorStep table_step(Rule&& rule) {
  ColorStep step{.kind = ColorStep::Kind::table};
  for (size_t x = 0; x < 256; ++x) {
    step.table[x] = static_cast<uint8_t>(std::clamp(rule(static_cast<float>(x)), 0.0F, 255.0F));
  }
  return step;
}

int32_t gray_of(const int32_t* p) { return ((p[0] * kRed >> 8) + (p[1] * kGreen >> 8) + (p[2] * kBlue >> 8)) >> 8; }

int32_t saturated(int32_t x, int32_t gray, const ColorStep& s) {
  const int32_t product = ((x - gray) * 128 * s.factor + (1 << 14)) >> 15;
  return std::clamp(((gray << s.fraction) + product) >> s.fraction, 0, 255);
}

void turn_hue(uint16_t turn, int32_t* p) {
  const int32_t r = p[0], g = p[1], b = p[2];
  const int32_t high = std::max(r, std::max(g, b)), low = std::min(r, std::min(g, b)), range = high - low;
  const int32_t numerator = high == r ? g - b : high == g ? b - r : r - g;
  const int32_t begin = turn + (high == r ? 0 : high == g ? kTwoSectors : kFourSectors);
  const float sixths = static_cast<float>(numerator) * kSixth / static_cast<float>(std::max(range, 1));
  const int32_t hue = begin + static_cast<int32_t>(std::nearbyint(sixths));
  const int32_t centres[3] = {32768, 10923, -10923};
  for (int j = 0; j < 3; ++j) {
    const int32_t away = std::abs(static_cast<int32_t>(static_cast<int16_t>(hue + centres[j])));
    const int32_t share = std::clamp<int32_t>(kTwoSectors - away, 0, kSector);
    p[j] = (high * 128 + kHueBias - ((range * 128 * share * 6) >> 16)) >> 7;
  }
}

void run_steps(int32_t* p, const ColorStep* steps, size_t count) {
  for (size_t k = 0; k < count; ++k) {
    const ColorStep& s = steps[k];
    const int32_t gray = gray_of(p);
    switch (s.kind) {
      case ColorStep::Kind::table:
        for (int j = 0; j < 3; ++j) p[j] = s.table[static_cast<size_t>(p[j])];
        break;
      case ColorStep::Kind::saturation:
        for (int j = 0; j < 3; ++j) p[j] = saturated(p[j], gray, s);
        break;
      case ColorStep::Kind::hue: turn_hue(s.turn, p); break;
      case ColorStep::Kind::grayscale: p[0] = p[1] = p[2] = gray; break;
    }
  }
}

void load(const uint8_t* in, int32_t* p) {
  for (int j = 0; j < 3; ++j) p[j] = in[j];
}

}  // namespace

ColorStep brightness_step(double f) {
  return table_step([f = static_cast<float>(f)](float x) { return x * f; });
}

ColorStep contrast_step(double f, float level) {
  const float rest = static_cast<float>(1.0 - f) * level;
  return table_step([f = static_cast<float>(f), rest](float x) { return x * f + rest; });
}

ColorStep saturation_step(double f) {
  f = std::min(f, 128.0);
  int16_t fraction = 6;
  while (f > 2.0 * (1 << (6 - fraction))) --fraction;
  const double factor = std::nearbyint(std::ldexp(f, 8 + fraction));
  return {.kind = ColorStep::Kind::saturation,
          .factor = static_cast<int16_t>(std::min(factor, 32767.0)),
          .fraction = fraction};
}

ColorStep hue_step(double part_of_circle) {
  return {.kind = ColorStep::Kind::hue,
          .turn = static_cast<uint16_t>(static_cast<int64_t>(std::nearbyint(part_of_circle * 65536)) & 65535)};
}

ColorStep grayscale_step() { return {.kind = ColorStep::Kind::grayscale}; }

void color_chain_reference(const uint8_t* in, uint8_t* out, size_t n, int32_t c, const ColorStep* steps,
                           size_t count) {
  for (size_t i = 0; i < n; ++i, in += c, out += c) {
    int32_t p[3];
    load(in, p);
    run_steps(p, steps, count);
    for (int j = 0; j < 3; ++j) out[j] = static_cast<uint8_t>(p[j]);
    if (c == 4) out[3] = in[3];
  }
}

uint64_t gray_sum_reference(const uint8_t* in, size_t n, int32_t c, const ColorStep* steps, size_t count) {
  uint64_t total = 0;
  for (size_t i = 0; i < n; ++i, in += c) {
    int32_t p[3];
    load(in, p);
    run_steps(p, steps, count);
    total += static_cast<uint64_t>(gray_of(p));
  }
  return total;
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

}  // namespace ballast::detail
#endif
