// Part of mask_kernel.cpp: dropout of bfloat16 on vectors of 512 bits, where the draws cost more than the memory does.
// Included once per target, by Highway's pattern.
#if defined(BALLAST_DROP_DROPOUT_BF16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BALLAST_DROP_DROPOUT_BF16_INL_H_
#undef BALLAST_DROP_DROPOUT_BF16_INL_H_
#else
#define BALLAST_DROP_DROPOUT_BF16_INL_H_
#endif

#include <hwy/highway.h>

#include <ballast/base/philox_inl.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace ballast {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET <= HWY_AVX3
using lanes::HWY_NAMESPACE::kPhiloxM0, lanes::HWY_NAMESPACE::kPhiloxM1, lanes::HWY_NAMESPACE::kPhiloxW0, lanes::HWY_NAMESPACE::kPhiloxW1;
using lanes::HWY_NAMESPACE::philox_product, lanes::HWY_NAMESPACE::philox_round;
using Words = hn::Vec<hn::CappedTag<uint64_t, 8>>;  // 512 bits
using WordBlocks = lanes::HWY_NAMESPACE::PhiloxBlocks<Words>;

// Of the rounds: read as operands, so that the registers are left to the blocks.
struct RoundKeys {
  uint64_t k0[10], k1[10];

  explicit RoundKeys(uint64_t key) {
    for (uint32_t r = 0; r < 10; ++r) {
      k0[r] = static_cast<uint32_t>(key) + r * kPhiloxW0;
      k1[r] = static_cast<uint32_t>(key >> 32) + r * kPhiloxW1;
    }
    // The last round is that of whole vectors of 32 bits.
    k0[9] |= k0[9] << 32;
    k1[9] |= k1[9] << 32;
  }
};

HWY_INLINE Words all(uint64_t value) { return hn::Set(hn::DFromV<Words>(), value); }
// The lower, or the upper, halves of even blocks and of odd ones, in turns.
HWY_INLINE Words low_halves(Words even, Words odd) { return Words{_mm512_mask_shuffle_epi32(even.raw, 0xaaaa, odd.raw, _MM_PERM_CCAA)}; }
HWY_INLINE Words high_halves(Words even, Words odd) { return Words{_mm512_mask_shuffle_epi32(odd.raw, 0x5555, even.raw, _MM_PERM_DDBB)}; }

// The first three rounds of blocks (c0, high, 0, 0), from M0 c0: half of two of them is the same in all lanes.
struct FirstRounds {
  Words k1, k0_1, high_1, low_2, k0_2;

  FirstRounds(const RoundKeys& keys, uint32_t high) {
    const uint64_t product = uint64_t{kPhiloxM0} * (high ^ static_cast<uint32_t>(keys.k0[0]));
    k1 = all(keys.k1[0]);
    k0_1 = all(keys.k0[1]);
    high_1 = all(product >> 32 ^ keys.k1[1]);
    low_2 = all(product ^ keys.k1[2]);
    k0_2 = all(keys.k0[2]);
  }

  HWY_INLINE WordBlocks operator()(Words m0_c0) const {
    const Words p1 = philox_product(hn::Xor(hn::ShiftRight<32>(m0_c0), k1), kPhiloxM1);
    const Words q0 = philox_product(hn::Xor(hn::ShiftRight<32>(p1), k0_1), kPhiloxM0);
    const Words q1 = philox_product(hn::Xor(m0_c0, high_1), kPhiloxM1);
    return {hn::Xor3(hn::ShiftRight<32>(q1), p1, k0_2), q1, hn::Xor(hn::ShiftRight<32>(q0), low_2), q0};
  }
};

// What products leave behind the 16 bits that stay.
enum class Rest : uint8_t { none, never_half, any };

// That of all bfloat16 times scale. A product's rest depends on its exponent only where it is denormal, which with scale >= 1
// needs a denormal factor.
inline Rest rest_of(float scale) {
  if (!(scale >= 1)) return Rest::any;
  uint32_t all = 0;
  bool half = false;
  for (const uint32_t exponent : {0u, 127u}) {
    for (uint32_t fraction = 0; fraction < 128; ++fraction) {
      const float x = std::bit_cast<float>(exponent << 23 | fraction << 16);
      const uint32_t rest = std::bit_cast<uint32_t>(x * scale) & 0xffff;
      all |= rest;
      half |= rest == 0x8000;
    }
  }
  return all == 0 ? Rest::none : half ? Rest::any : Rest::never_half;
}

// y = x * scale where the draw of 16 bits is not below the threshold, otherwise 0, of 32 elements at a time.
template <Rest kRest>
class Drop32 {
 public:
  Drop32(uint32_t threshold, float scale, bool stream)
      : below_(_mm512_set1_epi16(static_cast<short>(threshold - 1))), scale_(_mm512_set1_ps(scale)), stream_(stream) {
    alignas(64) uint16_t order[32], upper[32];
    for (uint16_t i = 0; i < 16; ++i) {
      order[2 * i] = i;
      order[2 * i + 1] = static_cast<uint16_t>(16 + i);
      upper[i] = static_cast<uint16_t>(2 * i + 1);
      upper[16 + i] = static_cast<uint16_t>(32 + 2 * i + 1);
    }
    order_ = _mm512_load_si512(order);
    upper_ = _mm512_load_si512(upper);
    lower_ = _mm512_sub_epi16(upper_, one_);
  }

  // words: in a lane of 32 bits, i, the draws of elements i and 16 + i.
  HWY_INLINE void operator()(Words words, const uint16_t* x, uint16_t* y) const {
    const __mmask32 keep = _mm512_cmpgt_epu16_mask(words.raw, below_);
    const __m512i in = _mm512_maskz_permutexvar_epi16(keep, order_, _mm512_loadu_si512(x));
    __m512i first = scaled(_mm512_slli_epi32(in, 16));
    __m512i second = scaled(_mm512_and_si512(in, _mm512_set1_epi32(static_cast<int>(0xffff0000))));
    // To the nearest, ties to even. Infinity and NaN have no rest.
    if constexpr (kRest == Rest::never_half) {
      first = _mm512_add_epi32(first, _mm512_set1_epi32(0x8000));
      second = _mm512_add_epi32(second, _mm512_set1_epi32(0x8000));
    }
    __m512i result = _mm512_permutex2var_epi16(first, upper_, second);
    if constexpr (kRest == Rest::any) {
      // Up if the rest is more than half, or half and the result is odd.
      const __m512i rest = _mm512_permutex2var_epi16(first, lower_, second), rest_or_odd = _mm512_ternarylogic_epi32(rest, result, one_, 0xf8);
      const __mmask32 up = _mm512_cmpgt_epu16_mask(rest_or_odd, _mm512_set1_epi16(static_cast<short>(0x8000)));
      result = _mm512_mask_add_epi16(result, up, result, one_);
    }
    if (stream_) {
      _mm512_stream_si512(reinterpret_cast<__m512i*>(y), result);
    } else {
      _mm512_storeu_si512(y, result);
    }
  }

 private:
  HWY_INLINE __m512i scaled(__m512i v) const { return _mm512_castps_si512(_mm512_mul_ps(_mm512_castsi512_ps(v), scale_)); }

  __m512i order_, upper_, lower_, one_ = _mm512_set1_epi16(1), below_;
  __m512 scale_;
  bool stream_;
};

// M0 c0 of the blocks that lie so many further.
HWY_INLINE Words after(Words m0_c0, uint64_t blocks) { return hn::Add(m0_c0, all(kPhiloxM0 * blocks)); }

// Rounds 3 to 8, of several vectors at once: each waits for itself only.
template <class... B>
HWY_INLINE void middle_rounds(const RoundKeys& keys, B&... blocks) {
  (philox_round(blocks, keys.k0[3], keys.k1[3]), ...);
  (philox_round(blocks, keys.k0[4], keys.k1[4]), ...);
  (philox_round(blocks, keys.k0[5], keys.k1[5]), ...);
  (philox_round(blocks, keys.k0[6], keys.k1[6]), ...);
  (philox_round(blocks, keys.k0[7], keys.k1[7]), ...);
  (philox_round(blocks, keys.k0[8], keys.k1[8]), ...);
}

// The last round of a group, and its 128 elements.
template <size_t kAhead, class Drop>
HWY_INLINE void finish_group(const RoundKeys& keys, const Drop& drop, const WordBlocks& even, const WordBlocks& odd, const uint16_t* x,
                             uint16_t* y) {
  const Words e0 = philox_product(even.c0, kPhiloxM0), e1 = philox_product(even.c2, kPhiloxM1);
  const Words o0 = philox_product(odd.c0, kPhiloxM0), o1 = philox_product(odd.c2, kPhiloxM1);
  const Words words[4] = {hn::Xor3(high_halves(e1, o1), low_halves(even.c1, odd.c1), all(keys.k0[9])), low_halves(e1, o1),
                          hn::Xor3(high_halves(e0, o0), low_halves(even.c3, odd.c3), all(keys.k1[9])), low_halves(e0, o0)};
  for (size_t w = 0; w < 4; ++w) {
    hwy::Prefetch(x + 32 * w + kAhead);
    drop(words[w], x + 32 * w, y + 32 * w);
  }
}

// Groups of 128 draws, two at once: four vectors of blocks wait for each other's multiplications.
template <size_t kAhead, Rest kRest>
HWY_INLINE void drop_groups_512(const uint16_t* x, uint16_t* y, uint64_t key, uint64_t group, size_t groups, uint32_t threshold, float scale,
                                 bool stream) {
  constexpr uint64_t kGroupsOfHigh = uint64_t{1} << 28;  // with the same upper half of the counter
  const RoundKeys keys(key);
  const Drop32<kRest> drop(threshold, scale, stream);
  while (groups > 0) {
    const size_t run = static_cast<size_t>(std::min<uint64_t>(groups, kGroupsOfHigh - group % kGroupsOfHigh));
    const FirstRounds begin(keys, static_cast<uint32_t>(group * 16 >> 32));
    const Words even = hn::Add(all(group * 16 & 0xffffffff), hn::ShiftLeft<1>(hn::Iota(hn::DFromV<Words>(), 0)));
    Words m0_c0 = philox_product(even, kPhiloxM0);  // goes on by additions
    size_t g = 0;
    for (; g + 2 <= run; g += 2, x += 256, y += 256) {
      asm volatile("" ::"r"(&keys) : "memory");  // do not keep the keys in registers
      WordBlocks a = begin(m0_c0), b = begin(after(m0_c0, 1));
      WordBlocks c = begin(after(m0_c0, 16)), d = begin(after(m0_c0, 17));
      m0_c0 = after(m0_c0, 32);
      middle_rounds(keys, a, b, c, d);
      finish_group<kAhead>(keys, drop, a, b, x, y);
      finish_group<kAhead>(keys, drop, c, d, x + 128, y + 128);
    }
    if (g < run) {
      WordBlocks a = begin(m0_c0), b = begin(after(m0_c0, 1));
      middle_rounds(keys, a, b);
      finish_group<kAhead>(keys, drop, a, b, x, y);
      x += 128, y += 128;
    }
    group += run;
    groups -= run;
  }
}

template <size_t kAhead>
HWY_INLINE void dropout_bf16_512(const uint16_t* x, uint16_t* y, uint64_t key, uint64_t group, size_t groups, uint32_t threshold, float scale,
                                 bool stream) {
  switch (rest_of(scale)) {
    case Rest::none: return drop_groups_512<kAhead, Rest::none>(x, y, key, group, groups, threshold, scale, stream);
    case Rest::never_half: return drop_groups_512<kAhead, Rest::never_half>(x, y, key, group, groups, threshold, scale, stream);
    case Rest::any: return drop_groups_512<kAhead, Rest::any>(x, y, key, group, groups, threshold, scale, stream);
  }
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace ballast
HWY_AFTER_NAMESPACE();

#endif  // BALLAST_DROP_DROPOUT_BF16_INL_H_
