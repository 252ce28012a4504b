// Shared by kernels: the rounds of Philox4x32-10 on vectors. Included once per target, by Highway's pattern.
#if defined(BALLAST_BASE_PHILOX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BALLAST_BASE_PHILOX_INL_H_
#undef BALLAST_BASE_PHILOX_INL_H_
#else
#define BALLAST_BASE_PHILOX_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace ballast::lanes {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR
// A lane of 64 bits is a block, c0 to c3 are its words: the low halves; what stands above them is ignored by the products.
template <class V>
struct PhiloxBlocks {
  V c0, c1, c2, c3;
};

template <class V>
HWY_INLINE V philox_product(V c, uint32_t factor) {
  const hn::DFromV<V> d;
  const hn::Repartition<uint32_t, decltype(d)> d32;
  return hn::MulEven(hn::BitCast(d32, c), hn::BitCast(d32, hn::Set(d, uint64_t{factor})));
}
constexpr uint32_t kPhiloxM0 = 0xD2511F53, kPhiloxM1 = 0xCD9E8D57, kPhiloxW0 = 0x9E3779B9, kPhiloxW1 = 0xBB67AE85;

// A multiplication gives both halves of a product where the next round wants them.
template <class V>
HWY_INLINE void philox_round(PhiloxBlocks<V>& b, uint64_t k0, uint64_t k1) {
  const hn::DFromV<V> d;
  const V p0 = philox_product(b.c0, kPhiloxM0), p1 = philox_product(b.c2, kPhiloxM1);
  b.c0 = hn::Xor3(hn::ShiftRight<32>(p1), b.c1, hn::Set(d, k0));
  b.c1 = p1;
  b.c2 = hn::Xor3(hn::ShiftRight<32>(p0), b.c3, hn::Set(d, k1));
  b.c3 = p0;
}

// The rounds from `first` on, of several vectors at once: each waits for itself only.
template <class... Blocks>
HWY_INLINE void philox_rounds(int first, uint64_t key, Blocks&... blocks) {
  for (int round = first; round < 10; ++round) {
    const uint32_t k0 = static_cast<uint32_t>(key) + static_cast<uint32_t>(round) * kPhiloxW0;
    const uint32_t k1 = static_cast<uint32_t>(key >> 32) + static_cast<uint32_t>(round) * kPhiloxW1;
    (philox_round(blocks, k0, k1), ...);
  }
}

// Blocks (c0, high, 0, 0): half of the first two rounds is nothing, or the same in all lanes.
template <class... Blocks>
HWY_INLINE void philox_stream(uint64_t key, uint32_t high, Blocks&... blocks) {
  const uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  const uint64_t product = uint64_t{kPhiloxM0} * (high ^ k0);
  const auto two_rounds = [&](auto& b) HWY_ATTR {
    const hn::DFromV<decltype(b.c0)> d;
    const auto p0 = philox_product(b.c0, kPhiloxM0);
    const auto p1 = philox_product(hn::Xor(hn::ShiftRight<32>(p0), hn::Set(d, uint64_t{k1})), kPhiloxM1);
    b.c0 = hn::Xor(hn::ShiftRight<32>(p1), hn::Set(d, uint64_t{k0 + kPhiloxW0}));
    b.c1 = p1;
    b.c2 = hn::Xor(p0, hn::Set(d, product >> 32 ^ (k1 + kPhiloxW1)));
    b.c3 = hn::Set(d, product);
  };
  (two_rounds(blocks), ...);
  philox_rounds(2, key, blocks...);
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace ballast::lanes
HWY_AFTER_NAMESPACE();

#endif  // BALLAST_BASE_PHILOX_INL_H_
