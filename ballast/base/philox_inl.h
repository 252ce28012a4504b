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
// A multiplication gives both halves of a product where the next round wants them.
template <class V>
HWY_INLINE void philox_rounds(V& c0, V& c1, V& c2, V& c3, uint64_t key) {
  const hn::DFromV<V> d;
  const hn::Repartition<uint32_t, decltype(d)> d32;
  const V m0 = hn::Set(d, uint64_t{0xD2511F53}), m1 = hn::Set(d, uint64_t{0xCD9E8D57});
  auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const V p0 = hn::MulEven(hn::BitCast(d32, c0), hn::BitCast(d32, m0));
    const V p1 = hn::MulEven(hn::BitCast(d32, c2), hn::BitCast(d32, m1));
    c0 = hn::Xor3(hn::ShiftRight<32>(p1), c1, hn::Set(d, uint64_t{k0}));
    c1 = p1;
    c2 = hn::Xor3(hn::ShiftRight<32>(p0), c3, hn::Set(d, uint64_t{k1}));
    c3 = p0;
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace ballast::lanes
HWY_AFTER_NAMESPACE();

#endif  // BALLAST_BASE_PHILOX_INL_H_
