#include <ballast/drop/mask_kernel.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include <hwy/cache_control.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/drop/mask_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <ballast/base/philox_inl.h>
#include <ballast/drop/dropout_bf16_inl.h>

#ifndef BALLAST_DROP_SPLIT_GROUP_
#define BALLAST_DROP_SPLIT_GROUP_
namespace ballast {
// DropRate::split for numbers 128 group on, one by one.
inline void split_group(Key key, uint64_t group, uint32_t threshold, uint16_t* keep) {
  const Key low = key.fold_in("low");
  for (unsigned s = 0; s < 8; ++s) {
    unsigned word = 0;
    for (unsigned lane = 0; lane < 16; ++lane) {
      const uint64_t i = group * 128 + 16 * s + lane;
      const uint32_t upper = bits16(key, i);
      const bool drop = upper != threshold >> 16 ? upper < threshold >> 16 : bits16(low, i) < (threshold & 0xffff);
      word |= unsigned{!drop} << lane;
    }
    keep[s] = static_cast<uint16_t>(word);
  }
}
}  // namespace ballast
#endif

HWY_BEFORE_NAMESPACE();
namespace ballast {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR
template <bool kWide>
void DrawGroups(uint64_t key, uint64_t group, size_t groups, uint32_t threshold, uint16_t* keep, Ahead) {
  constexpr size_t kSlots = kWide ? 4 : 8;
  for (size_t g = 0; g < groups; ++g) {
    for (size_t s = 0; s < kSlots; ++s) keep[g * kSlots + s] = 0;
    for (unsigned lane = 0; lane < 16; ++lane) {
      const auto w = philox(Key(key), (group + g) * 16 + lane);
      for (size_t s = 0; s < kSlots; ++s) {
        const uint32_t bits = kWide ? w[s] : w[s / 2] >> (16 * (s % 2)) & 0xffff;
        keep[g * kSlots + s] = static_cast<uint16_t>(keep[g * kSlots + s] | unsigned{bits >= threshold} << lane);
      }
    }
  }
}

void DrawSplit(uint64_t key, uint64_t group, size_t groups, uint32_t threshold, uint16_t* keep, Ahead) {
  for (size_t g = 0; g < groups; ++g) split_group(Key(key), group + g, threshold, keep + 8 * g);
}
#else
// A lane of 64 bits is a Philox block. Even and odd blocks are in two vectors, merged at the end.
using D64 = hn::CappedTag<uint64_t, 8>;
using D32 = hn::Repartition<uint32_t, D64>;

using Blocks = lanes::HWY_NAMESPACE::PhiloxBlocks<hn::Vec<D64>>;

// 16 bits a slot: lane l of a slot is block 16 group + l.
HWY_INLINE void store_slot(hn::Mask<D32> mask, size_t part, uint16_t* slot) {
  const D32 d;
  uint8_t bytes[8] = {};
  hn::StoreMaskBits(d, mask, bytes);
  if (hn::Lanes(d) == 16) {
    std::memcpy(slot, bytes, 2);
  } else if (hn::Lanes(d) == 8) {
    std::memcpy(reinterpret_cast<uint8_t*>(slot) + part, bytes, 1);
  } else {
    *slot = static_cast<uint16_t>((part == 0 ? 0u : *slot) | static_cast<unsigned>(bytes[0]) << (part * hn::Lanes(d)));
  }
}

// Calls use(g, slot, part, bits) for each vector of draws of groups group .. group + groups: its lanes are the numbers
// 16 slot + part * lanes + ... of the group; draws of 16 bits are the upper ones, above others. begin(g) is called before,
// end(g) after those of group g.
template <bool kWide, class Begin, class Use, class End>
HWY_INLINE void for_groups(uint64_t key, uint64_t group, size_t groups, const Begin& begin, const Use& use, const End& end) {
  const D64 d;
  const D32 d32;
  const size_t n64 = hn::Lanes(d), parts = 16 / (2 * n64);
  const auto twice = hn::ShiftLeft<1>(hn::Iota(d, 0));
  for (size_t g = 0; g < groups; ++g) {
    begin(g);
    const uint64_t first = (group + g) * 16;  // its low half has room for 15 more
    for (size_t part = 0; part < parts; ++part) {
      const uint64_t base = (first & 0xffffffff) + part * 2 * n64;
      Blocks a{.c0 = hn::Add(twice, hn::Set(d, base))}, b{.c0 = hn::Add(twice, hn::Set(d, base + 1))};
      lanes::HWY_NAMESPACE::philox_stream(key, static_cast<uint32_t>(first >> 32), a, b);
      const auto slots = [&](size_t w, auto even, auto odd) HWY_ATTR {
        const auto bits = hn::OddEven(hn::BitCast(d32, hn::ShiftLeft<32>(odd)), hn::BitCast(d32, even));
        if constexpr (kWide) {
          use(g, w, part, bits);
        } else {
          use(g, 2 * w, part, hn::ShiftLeft<16>(bits));
          use(g, 2 * w + 1, part, bits);
        }
      };
      slots(0, a.c0, b.c0);
      slots(1, a.c1, b.c1);
      slots(2, a.c2, b.c2);
      slots(3, a.c3, b.c3);
    }
    end(g);
  }
}

// Asks for the share of `ahead` that goes with group g of `groups`.
HWY_INLINE void ask(Ahead ahead, size_t g, size_t groups) {
  const size_t lines = ahead.bytes / 64, share = (lines + groups - 1) / groups;
  for (size_t i = g * share; i < HWY_MIN(lines, (g + 1) * share); ++i) hwy::Prefetch(static_cast<const uint8_t*>(ahead.data) + 64 * i);
}

template <bool kWide>
void DrawGroups(uint64_t key, uint64_t group, size_t groups, uint32_t threshold, uint16_t* keep, Ahead ahead) {
  constexpr size_t kSlots = kWide ? 4 : 8;
  const auto limit = hn::Set(D32(), kWide ? threshold : threshold << 16);
  uint16_t dropped[kSlots];
  for_groups<kWide>(
      key, group, groups, [&](size_t g) HWY_ATTR { ask(ahead, g, groups); },
      [&](size_t, size_t slot, size_t part, hn::Vec<D32> bits) HWY_ATTR {
        store_slot(hn::Lt(bits, limit), part, dropped + slot);
      },
      [&](size_t g) HWY_ATTR {
        for (size_t s = 0; s < kSlots; ++s) keep[g * kSlots + s] = static_cast<uint16_t>(~dropped[s]);
      });
}

// A group with a draw that the upper bits do not decide, one in 500, is done again.
void DrawSplit(uint64_t key, uint64_t group, size_t groups, uint32_t threshold, uint16_t* keep, Ahead ahead) {
  const D32 d;
  const auto limit = hn::Set(d, threshold & 0xffff0000);
  uint16_t dropped[8];
  auto nearest = limit;  // least difference of upper bits in the group: below 2^16 where they are equal
  for_groups<false>(
      key, group, groups,
      [&](size_t g) HWY_ATTR {
        nearest = hn::Set(d, 0xffffffffu);
        ask(ahead, g, groups);
      },
      [&](size_t g, size_t slot, size_t part, hn::Vec<D32> bits) HWY_ATTR {
        nearest = hn::Min(nearest, hn::Xor(bits, limit));
        store_slot(hn::Lt(bits, limit), part, dropped + slot);
      },
      [&](size_t g) HWY_ATTR {
        for (size_t s = 0; s < 8; ++s) keep[g * 8 + s] = static_cast<uint16_t>(~dropped[s]);
        if (!hn::AllFalse(d, hn::Lt(nearest, hn::Set(d, 0x10000u)))) split_group(Key(key), group + g, threshold, keep + 8 * g);
      });
}
#endif

void DrawNarrow(uint64_t key, uint64_t group, size_t groups, uint32_t threshold, uint16_t* keep, Ahead ahead) {
  DrawGroups<false>(key, group, groups, threshold, keep, ahead);
}
void DrawWide(uint64_t key, uint64_t group, size_t groups, uint32_t threshold, uint16_t* keep, Ahead ahead) {
  DrawGroups<true>(key, group, groups, threshold, keep, ahead);
}

// ---- Applying ----

// 16 bits from any bit on; reads 32.
HWY_INLINE uint32_t bits_at(const uint16_t* keep, size_t bit) {
  uint32_t two = 0;
  std::memcpy(&two, keep + bit / 16, 4);
  return two >> (bit % 16) & 0xffff;
}

template <class D>
HWY_INLINE hn::Mask<D> mask_of(D d, uint32_t bits, size_t sub) {
  const uint64_t word = bits >> sub;
  uint8_t bytes[8];
  std::memcpy(bytes, &word, 8);
  return hn::LoadMaskBits(d, bytes);
}

template <bool kAffine, class D, class V>
HWY_INLINE V keep_value(D d, hn::Mask<D> mask, V x, KeepValues v) {
  using T = hn::TFromD<D>;
  const V scaled = hn::Mul(x, hn::Set(d, static_cast<T>(v.scale)));
  if constexpr (kAffine) {
    return hn::IfThenElse(mask, hn::Add(scaled, hn::Set(d, static_cast<T>(v.shift))), hn::Set(d, static_cast<T>(v.fill)));
  } else {
    return hn::IfThenElseZero(mask, scaled);
  }
}

// Past the caches saves the read of a line that comes before a usual store to it.
HWY_INLINE bool in_lines(const void* y) { return reinterpret_cast<uintptr_t>(y) % 64 == 0; }
template <class D>
HWY_INLINE void store_or_stream(D d, hn::Vec<D> v, hn::TFromD<D>* y, bool stream) {
  // Highway streams no less than 16 bytes.
  if constexpr (HWY_TARGET == HWY_SCALAR || hn::MaxLanes(D()) * sizeof(hn::TFromD<D>) >= 16) {
    if (stream) return hn::Stream(v, d, y);
  }
  hn::StoreU(v, d, y);
}

template <class T>
using RealOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

// A vector of elements; T is uint16_t for the bits of a bfloat16.
template <bool kAffine, class D, class T>
HWY_INLINE void keep_vector(D d, const T* x, T* y, hn::Mask<D> mask, KeepValues v) {
  if constexpr (std::is_same_v<T, uint16_t>) {
    const hn::Rebind<uint16_t, D> d16;
    const hn::RebindToUnsigned<D> du;
    const hn::RebindToSigned<D> di;
    const auto wide = hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(d16, x))));
    const auto value = keep_value<kAffine>(d, mask, wide, v);
    const auto raw = hn::BitCast(du, value);
    // To the nearest, ties to even. A NaN stays one: it is that of a bfloat16, with nothing in the lower half to round.
    const auto odd = hn::And(hn::ShiftRight<16>(raw), hn::Set(du, 1u));
    const auto rounded = hn::ShiftRight<16>(hn::Add(hn::Add(raw, hn::Set(du, 0x7fffu)), odd));
    store_or_stream(d16, hn::DemoteTo(d16, hn::BitCast(di, rounded)), y, v.stream);
  } else {
    const auto value = keep_value<kAffine>(d, mask, hn::LoadU(d, x), v);
    store_or_stream(d, value, y, v.stream);
  }
}

template <bool kAffine, class T>
HWY_INLINE void keep_16(const T* x, T* y, uint32_t bits, KeepValues v) {
  const hn::CappedTag<RealOf<T>, 16> d;
  for (size_t sub = 0; sub < 16; sub += hn::Lanes(d)) {
    keep_vector<kAffine>(d, x + sub, y + sub, mask_of(d, bits, sub), v);
  }
}

template <bool kAffine, class T>
HWY_INLINE void keep_tail(const T* x, T* y, size_t n, uint32_t bits, KeepValues v) {
  T in[16] = {}, out[16];
  std::memcpy(in, x, n * sizeof(T));
  v.stream = false;
  keep_16<kAffine>(in, out, bits, v);
  std::memcpy(y, out, n * sizeof(T));
}

template <bool kAffine, class T>
HWY_INLINE void apply_all(const T* x, T* y, size_t n, const uint16_t* keep, size_t offset, KeepValues v) {
  v.stream = v.stream && in_lines(y);
  size_t i = 0;
  if (offset % 16 == 0) {
    const uint16_t* words = keep + offset / 16;
    for (; i + 16 <= n; i += 16) keep_16<kAffine>(x + i, y + i, words[i / 16], v);
  } else {
    for (; i + 16 <= n; i += 16) keep_16<kAffine>(x + i, y + i, bits_at(keep, offset + i), v);
  }
  if (i < n) keep_tail<kAffine>(x + i, y + i, n - i, bits_at(keep, offset + i), v);
}

template <class T>
HWY_INLINE void Apply(const T* x, T* y, size_t n, const uint16_t* keep, size_t offset, const KeepValues& v) {
  if (v.shift != 0 || v.fill != 0) {
    apply_all<true>(x, y, n, keep, offset, v);
  } else {
    apply_all<false>(x, y, n, keep, offset, v);
  }
}

void StoreZeros(uint8_t* y, size_t bytes) {
  const hn::ScalableTag<uint8_t> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = std::min(bytes, (64 - reinterpret_cast<uintptr_t>(y) % 64) % 64);
  std::memset(y, 0, i);
  for (; i + lanes <= bytes; i += lanes) hn::Stream(hn::Zero(d), d, y + i);
  std::memset(y + i, 0, bytes - i);
}

void ApplyF32(const float* x, float* y, size_t n, const uint16_t* keep, size_t offset, const KeepValues& v) {
  Apply(x, y, n, keep, offset, v);
}
void ApplyF64(const double* x, double* y, size_t n, const uint16_t* keep, size_t offset, const KeepValues& v) {
  Apply(x, y, n, keep, offset, v);
}
void ApplyBf16(const uint16_t* x, uint16_t* y, size_t n, const uint16_t* keep, size_t offset, const KeepValues& v) {
  Apply(x, y, n, keep, offset, v);
}

constexpr size_t kAhead = 4096;  // elements: what the caches are asked for meanwhile

// Whole groups, drawn and applied at once: memory and arithmetic overlap. Returns the groups done: none on a target
// that cannot.
template <class T>
HWY_INLINE size_t fused_groups(const T* x, T* y, uint64_t key, uint64_t group, size_t groups, uint32_t threshold,
                               KeepValues v) {
#if HWY_TARGET == HWY_SCALAR
  (void)x, (void)y, (void)key, (void)group, (void)groups, (void)threshold, (void)v;
  return 0;
#else
  const hn::Repartition<float, D64> d;
  const auto below = hn::Set(D32(), (threshold << 16) - 1);
  v.stream = v.stream && in_lines(y);
  const auto nothing = [](size_t) HWY_ATTR {};
  for_groups<false>(
      key, group, groups, nothing,
      [&](size_t g, size_t slot, size_t part, hn::Vec<D32> bits) HWY_ATTR {
        const size_t at = g * 128 + slot * 16 + part * hn::Lanes(d);
        hwy::Prefetch(x + at + kAhead);
        keep_vector<false>(d, x + at, y + at, hn::RebindMask(d, hn::Lt(below, bits)), v);
      },
      nothing);
  return groups;
#endif
}

size_t FusedF32(const float* x, float* y, uint64_t key, uint64_t group, size_t groups, uint32_t threshold,
                const KeepValues& v) {
  return fused_groups(x, y, key, group, groups, threshold, v);
}
size_t FusedBf16(const uint16_t* x, uint16_t* y, uint64_t key, uint64_t group, size_t groups, uint32_t threshold,
                 const KeepValues& v) {
#if HWY_TARGET <= HWY_AVX3
  // There a dropped element is 0 before it is scaled.
  const auto scale = static_cast<float>(v.scale);
  if (scale > 0 && std::isfinite(scale)) {
    dropout_bf16_512<kAhead>(x, y, key, group, groups, threshold, scale, v.stream && in_lines(y));
    return groups;
  }
#endif
  return fused_groups(x, y, key, group, groups, threshold, v);
}

// Rows of 16 bits become columns: bit c of row s is bit s of row c. Blocks of 8, 4, 2 and 1 change places.
HWY_INLINE void transpose_16(uint64_t w[4]) {
  const auto swap = [](uint64_t& a, uint64_t& b, int shift, uint64_t mask) HWY_ATTR {
    const uint64_t t = (a >> shift ^ b) & mask;
    b ^= t;
    a ^= t << shift;
  };
  swap(w[0], w[2], 8, 0x00ff00ff00ff00ff);
  swap(w[1], w[3], 8, 0x00ff00ff00ff00ff);
  swap(w[0], w[1], 4, 0x0f0f0f0f0f0f0f0f);
  swap(w[2], w[3], 4, 0x0f0f0f0f0f0f0f0f);
  for (int k = 0; k < 4; ++k) {
    uint64_t t = (w[k] >> 2 ^ w[k] >> 32) & 0x0000000033333333;
    w[k] ^= t << 2 ^ t << 32;
    t = (w[k] >> 1 ^ w[k] >> 16) & 0x0000555500005555;
    w[k] ^= t << 1 ^ t << 16;
  }
}

template <bool kAffine, class T>
HWY_INLINE void nhwc_all(const T* x, T* y, size_t channels, size_t positions, const uint16_t* keep, size_t offset,
                         KeepValues v) {
  v.stream = v.stream && in_lines(y) && channels * sizeof(T) % 64 == 0;
  for (size_t s = 0; s < positions; s += 16) {
    const size_t rows = HWY_MIN(positions - s, size_t{16});
    for (size_t c = 0; c < channels; c += 16) {
      const size_t width = HWY_MIN(channels - c, size_t{16});
      uint16_t tile[16] = {};
      for (size_t k = 0; k < width; ++k) tile[k] = static_cast<uint16_t>(bits_at(keep, offset + (c + k) * positions + s));
      uint64_t w[4];
      std::memcpy(w, tile, 32);
      transpose_16(w);
      std::memcpy(tile, w, 32);
      for (size_t r = 0; r < rows; ++r) {
        const size_t at = (s + r) * channels + c;
        if (width == 16) {
          keep_16<kAffine>(x + at, y + at, tile[r], v);
        } else {
          keep_tail<kAffine>(x + at, y + at, width, tile[r], v);
        }
      }
    }
  }
}

template <class T>
HWY_INLINE void Nhwc(const T* x, T* y, size_t channels, size_t positions, const uint16_t* keep, size_t offset,
                     const KeepValues& v) {
  if (v.shift != 0 || v.fill != 0) {
    nhwc_all<true>(x, y, channels, positions, keep, offset, v);
  } else {
    nhwc_all<false>(x, y, channels, positions, keep, offset, v);
  }
}
void NhwcF32(const float* x, float* y, size_t c, size_t s, const uint16_t* keep, size_t offset, const KeepValues& v) {
  Nhwc(x, y, c, s, keep, offset, v);
}
void NhwcF64(const double* x, double* y, size_t c, size_t s, const uint16_t* keep, size_t offset, const KeepValues& v) {
  Nhwc(x, y, c, s, keep, offset, v);
}
void NhwcBf16(const uint16_t* x, uint16_t* y, size_t c, size_t s, const uint16_t* keep, size_t offset,
              const KeepValues& v) {
  Nhwc(x, y, c, s, keep, offset, v);
}

float KeepDot(const float* w, const float* x, size_t n, const uint16_t* keep, size_t offset) {
  const hn::CappedTag<float, 16> d;
  const size_t lanes = hn::Lanes(d), whole = n / 16 * 16;
  float sum[16] = {};
  for (size_t sub = 0; sub < 16; sub += lanes) {
    auto acc = hn::Zero(d);
    for (size_t i = 0; i < whole; i += 16) {
      const auto mask = mask_of(d, bits_at(keep, offset + i), sub);
      const auto product = hn::Mul(hn::LoadU(d, w + i + sub), hn::LoadU(d, x + i + sub));
      acc = hn::Add(acc, hn::IfThenElseZero(mask, product));
    }
    hn::StoreU(acc, d, sum + sub);
  }
  for (size_t i = whole; i < n; ++i) {
    if (kept(keep, offset + i)) sum[i % 16] += w[i] * x[i];
  }
  for (size_t half = 8; half > 0; half /= 2) {
    for (size_t k = 0; k < half; ++k) sum[k] += sum[k + half];
  }
  return sum[0];
}

void KeepAxpy(float a, const float* w, float* out, size_t n, const uint16_t* keep, size_t offset) {
  const hn::CappedTag<float, 16> d;
  const size_t lanes = hn::Lanes(d), whole = n / 16 * 16;
  const auto av = hn::Set(d, a);
  for (size_t i = 0; i < whole; i += 16) {
    const uint32_t bits = bits_at(keep, offset + i);
    for (size_t sub = 0; sub < 16; sub += lanes) {
      const auto product = hn::Mul(av, hn::LoadU(d, w + i + sub));
      const auto old = hn::LoadU(d, out + i + sub);
      hn::StoreU(hn::Add(old, hn::IfThenElseZero(mask_of(d, bits, sub), product)), d, out + i + sub);
    }
  }
  for (size_t i = whole; i < n; ++i) {
    if (kept(keep, offset + i)) out[i] += a * w[i];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ballast
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast {
HWY_EXPORT(DrawNarrow);
HWY_EXPORT(DrawWide);
HWY_EXPORT(DrawSplit);
HWY_EXPORT(StoreZeros);
HWY_EXPORT(ApplyF32);
HWY_EXPORT(ApplyF64);
HWY_EXPORT(ApplyBf16);
HWY_EXPORT(FusedF32);
HWY_EXPORT(FusedBf16);
HWY_EXPORT(NhwcF32);
HWY_EXPORT(NhwcF64);
HWY_EXPORT(NhwcBf16);
HWY_EXPORT(KeepDot);
HWY_EXPORT(KeepAxpy);

DropRate element_rate(double p) {
  const int width = std::min(p, 1 - p) < 0x1p-6 ? 32 : 16;
  return {static_cast<uint64_t>(std::nearbyint(std::ldexp(p, width))), width};
}

DropRate event_rate(double p) { return {static_cast<uint64_t>(std::nearbyint(p * 0x1p32)), 32}; }

DropRate corner_rate(double p) {
  DropRate rate = event_rate(p);
  rate.split = true;
  return rate;
}

namespace {
uint64_t per_group(DropRate rate) { return rate.width == 16 || rate.split ? 128 : 64; }
}  // namespace

size_t draw_keep(Key key, uint64_t first, size_t n, DropRate rate, uint16_t* keep, Ahead ahead) {
  const uint64_t per = per_group(rate);
  const size_t offset = first % per, groups = (offset + n + per - 1) / per;
  const auto threshold = static_cast<uint32_t>(rate.threshold);
  if (rate.none() || rate.all()) {
    std::memset(keep, rate.none() ? 0xff : 0, groups * per / 8);
  } else if (rate.split) {
    HWY_DYNAMIC_DISPATCH(DrawSplit)(key.bits(), first / per, groups, threshold, keep, ahead);
  } else if (rate.width == 16) {
    HWY_DYNAMIC_DISPATCH(DrawNarrow)(key.bits(), first / per, groups, threshold, keep, ahead);
  } else {
    HWY_DYNAMIC_DISPATCH(DrawWide)(key.bits(), first / per, groups, threshold, keep, ahead);
  }
  return offset;
}

size_t draw_keep_reference(Key key, uint64_t first, size_t n, DropRate rate, uint16_t* keep) {
  const size_t offset = first % per_group(rate);
  for (size_t i = 0; i < n; ++i) {
    const uint64_t bits = rate.split ? uint64_t{bits16(key, first + i)} << 16 | bits16(key.fold_in("low"), first + i)
                          : rate.width == 16 ? bits16(key, first + i)
                                             : bits32(key, first + i);
    const size_t at = offset + i;
    const auto bit = static_cast<uint16_t>(1u << at % 16);
    keep[at / 16] = static_cast<uint16_t>(bits < rate.threshold ? keep[at / 16] & ~bit : keep[at / 16] | bit);
  }
  return offset;
}

void end_stream() { hwy::FlushStream(); }

void store_zeros(void* y, size_t bytes, bool stream) {
  if (!stream) {
    std::memset(y, 0, bytes);
    return;
  }
  HWY_DYNAMIC_DISPATCH(StoreZeros)(static_cast<uint8_t*>(y), bytes);
}

void apply_keep(const float* x, float* y, size_t n, const uint16_t* keep, size_t offset, KeepValues v) {
  HWY_DYNAMIC_DISPATCH(ApplyF32)(x, y, n, keep, offset, v);
}
void apply_keep(const double* x, double* y, size_t n, const uint16_t* keep, size_t offset, KeepValues v) {
  HWY_DYNAMIC_DISPATCH(ApplyF64)(x, y, n, keep, offset, v);
}
void apply_keep_bf16(const uint16_t* x, uint16_t* y, size_t n, const uint16_t* keep, size_t offset, KeepValues v) {
  HWY_DYNAMIC_DISPATCH(ApplyBf16)(x, y, n, keep, offset, v);
}

void apply_keep_nhwc(const float* x, float* y, size_t channels, size_t positions, const uint16_t* keep, size_t offset,
                     KeepValues v) {
  HWY_DYNAMIC_DISPATCH(NhwcF32)(x, y, channels, positions, keep, offset, v);
}
void apply_keep_nhwc(const double* x, double* y, size_t channels, size_t positions, const uint16_t* keep, size_t offset,
                     KeepValues v) {
  HWY_DYNAMIC_DISPATCH(NhwcF64)(x, y, channels, positions, keep, offset, v);
}
void apply_keep_nhwc_bf16(const uint16_t* x, uint16_t* y, size_t channels, size_t positions, const uint16_t* keep,
                          size_t offset, KeepValues v) {
  HWY_DYNAMIC_DISPATCH(NhwcBf16)(x, y, channels, positions, keep, offset, v);
}

namespace {

// Bits of this many elements, in the first-level cache beside the elements.
constexpr size_t kPiece = 4096;

// `fused` does whole groups of 16-bit draws and returns how many; `apply` the rest.
template <class T, class Fused, class ApplyPiece>
void drop_pieces(const T* x, T* y, size_t n, Key key, uint64_t first, DropRate rate, const KeepValues& v,
                 const Fused& fused, const ApplyPiece& apply) {
  uint16_t keep[keep_words(kPiece)] = {};
  const bool may_fuse = rate.width == 16 && !rate.none() && !rate.all() && v.shift == 0 && v.fill == 0;
  for (size_t done = 0; done < n;) {
    const size_t in_group = (first + done) % 128;
    if (may_fuse && in_group == 0 && n - done >= 128) {
      const size_t groups = fused(x + done, y + done, (first + done) / 128, (n - done) / 128);
      done += groups * 128;
      if (groups > 0) continue;
    }
    // Pieces end where a group of draws does, so that each group is drawn once.
    const size_t room = may_fuse && in_group != 0 ? 128 : kPiece;
    const size_t count = std::min(n - done, room - in_group % room);
    const size_t offset = draw_keep(key, first + done, count, rate, keep);
    apply(x + done, y + done, count, keep, offset);
    done += count;
  }
}

}  // namespace

void drop_elements(const float* x, float* y, size_t n, Key key, uint64_t first, DropRate rate, KeepValues v) {
  drop_pieces(
      x, y, n, key, first, rate, v,
      [&](auto a, auto b, uint64_t group, size_t groups) {
        return HWY_DYNAMIC_DISPATCH(FusedF32)(a, b, key.bits(), group, groups, static_cast<uint32_t>(rate.threshold), v);
      },
      [&](auto a, auto b, size_t count, const uint16_t* keep, size_t offset) {
        apply_keep(a, b, count, keep, offset, v);
      });
}
void drop_elements(const double* x, double* y, size_t n, Key key, uint64_t first, DropRate rate, KeepValues v) {
  drop_pieces(
      x, y, n, key, first, rate, v, [](auto, auto, uint64_t, size_t) { return size_t{0}; },
      [&](auto a, auto b, size_t count, const uint16_t* keep, size_t offset) {
        apply_keep(a, b, count, keep, offset, v);
      });
}
void drop_elements_bf16(const uint16_t* x, uint16_t* y, size_t n, Key key, uint64_t first, DropRate rate, KeepValues v) {
  drop_pieces(
      x, y, n, key, first, rate, v,
      [&](auto a, auto b, uint64_t group, size_t groups) {
        return HWY_DYNAMIC_DISPATCH(FusedBf16)(a, b, key.bits(), group, groups, static_cast<uint32_t>(rate.threshold), v);
      },
      [&](auto a, auto b, size_t count, const uint16_t* keep, size_t offset) {
        apply_keep_bf16(a, b, count, keep, offset, v);
      });
}

float keep_dot(const float* w, const float* x, size_t n, const uint16_t* keep, size_t offset) {
  return HWY_DYNAMIC_DISPATCH(KeepDot)(w, x, n, keep, offset);
}
void keep_axpy(float a, const float* w, float* out, size_t n, const uint16_t* keep, size_t offset) {
  HWY_DYNAMIC_DISPATCH(KeepAxpy)(a, w, out, n, keep, offset);
}

void clear_bits(uint16_t* keep, size_t begin, size_t end) {
  while (begin < end) {
    const size_t at = begin % 16, count = std::min(end - begin, 16 - at);
    const unsigned run = ((1u << count) - 1) << at;
    keep[begin / 16] = static_cast<uint16_t>(keep[begin / 16] & ~run);
    begin += count;
  }
}

}  // namespace ballast
#endif
