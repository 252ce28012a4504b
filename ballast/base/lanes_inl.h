// Shared by kernels: e^x, log x, and sums in fixed lanes, so that the bits are those of every SIMD target. Included once per
// target, by Highway's pattern. Only Mul and Add, never a fused multiply-add.
#if defined(BALLAST_BASE_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BALLAST_BASE_LANES_INL_H_
#undef BALLAST_BASE_LANES_INL_H_
#else
#define BALLAST_BASE_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace ballast::lanes {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 64-byte vectors where the target has them.
template <class C>
using Tag = hn::CappedTag<C, 64 / sizeof(C)>;
template <class C>
using One = hn::CappedTag<C, 1>;

template <class C>
inline constexpr C kTaylor[14] = {C(1),           C(1),           C(1) / 2,        C(1) / 6,        C(1) / 24,
                                  C(1) / 120,     C(1) / 720,     C(1) / 5040,     C(1) / 40320,    C(1) / 362880,
                                  C(1) / 3628800, C(1) / 39916800, C(1) / 479001600, C(1) / 6227020800};

// e^x to a unit in the last place or so; x is cut to where the result is a normal number.
template <class D>
HWY_INLINE hn::Vec<D> exp_of(D d, hn::Vec<D> x) {
  using C = hn::TFromD<D>;
  constexpr bool kDouble = sizeof(C) == 8;
  x = hn::Min(hn::Max(x, hn::Set(d, C(kDouble ? -708 : -87))), hn::Set(d, C(kDouble ? 709 : 88)));
  const auto n = hn::Round(hn::Mul(x, hn::Set(d, C(1.4426950408889634074))));
  // ln 2 in two parts, the first exact when multiplied by n.
  auto r = hn::Sub(x, hn::Mul(n, hn::Set(d, kDouble ? C(6.93145751953125e-1) : C(0.693359375))));
  r = hn::Sub(r, hn::Mul(n, hn::Set(d, kDouble ? C(1.42860682030941723212e-6) : C(-2.12194440e-4))));
  constexpr int kDegree = kDouble ? 13 : 7;
  auto p = hn::Set(d, kTaylor<C>[kDegree]);
  for (int k = kDegree - 1; k >= 0; --k) p = hn::Add(hn::Mul(p, r), hn::Set(d, kTaylor<C>[k]));
  const hn::RebindToSigned<D> integer;
  constexpr int kMantissa = kDouble ? 52 : 23, kBias = kDouble ? 1023 : 127;
  const auto exponent = hn::Add(hn::ConvertTo(integer, n), hn::Set(integer, kBias));
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<kMantissa>(exponent)));
}

// det_log (base/detmath.h) of normal doubles below sqrt(1/2), operation by operation.
template <class V>
HWY_INLINE V log_of(V x) {
  const hn::DFromV<V> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  const auto bits = hn::BitCast(du, x);
  const auto exponent = hn::Or(hn::ShiftRight<52>(bits), hn::Set(du, uint64_t{0x4330000000000000}));
  V k = hn::Sub(hn::BitCast(d, exponent), hn::Set(d, 0x1p52 + 1023.0));
  const auto fraction = hn::And(bits, hn::Set(du, uint64_t{0x000fffffffffffff}));
  V m = hn::BitCast(d, hn::Or(fraction, hn::Set(du, uint64_t{0x3ff0000000000000})));
  const auto large = hn::Ge(m, hn::Set(d, 0x1.6a09e667f3bcdp+0));
  m = hn::IfThenElse(large, hn::Mul(m, hn::Set(d, 0.5)), m);
  k = hn::IfThenElse(large, hn::Add(k, hn::Set(d, 1.0)), k);
  const V f = hn::Sub(m, hn::Set(d, 1.0));
  const V z = hn::Div(f, hn::Add(hn::Set(d, 2.0), f));
  const V z2 = hn::Mul(z, z);
  V q = hn::Set(d, 2.0 / 25.0);
  for (int odd = 23; odd >= 3; odd -= 2) q = hn::Add(hn::Mul(q, z2), hn::Set(d, 2.0 / odd));
  const V h = hn::Mul(hn::Mul(hn::Set(d, 0.5), f), f);
  const V rest = hn::Mul(z, hn::Add(h, hn::Mul(z2, q)));
  const V a = hn::Mul(k, hn::Set(d, 0x1.62e42feep-1));
  const V sum = hn::Add(a, f);
  const V lost = hn::Sub(f, hn::Sub(sum, a));
  const V low = hn::Sub(hn::Add(hn::Mul(k, hn::Set(d, 0x1.a39ef35793c76p-33)), rest), h);
  return hn::Add(sum, hn::Add(lost, low));
}

// K sums over elements: 32 lanes, element i of a run in lane i % 32, the last size % 16 of a run in lanes of their own;
// then a tree in double. So the bits do not depend on the width of a vector.
template <class C, int K>
class LaneSums {
 public:
  using D = Tag<C>;
  static constexpr size_t kLanes = hn::MaxLanes(D());
  static constexpr size_t kAcc = 32 / kLanes;

  HWY_INLINE LaneSums() {
    const D d;
    for (size_t j = 0; j < kAcc; ++j) {
      for (int k = 0; k < K; ++k) acc_[k][j] = hn::Zero(d);
    }
  }

  // body.template operator()(d, i, out[K]) gives the K terms of elements [i, i + Lanes(d)).
  template <class Body>
  HWY_INLINE void run(const Body& body, size_t size) {
    const D d;
    size_t i = 0;
    for (; i + 32 <= size; i += 32) {
      for (size_t j = 0; j < kAcc; ++j) {
        hn::Vec<D> term[K];
        body(d, i + j * kLanes, term);
        for (int k = 0; k < K; ++k) acc_[k][j] = hn::Add(acc_[k][j], term[k]);
      }
    }
    if (i + 16 <= size) {
      for (size_t j = 0; j < kAcc / 2; ++j) {
        hn::Vec<D> term[K];
        body(d, i + j * kLanes, term);
        for (int k = 0; k < K; ++k) acc_[k][j] = hn::Add(acc_[k][j], term[k]);
      }
      i += 16;
    }
    for (size_t l = 0; i < size; ++i, ++l) {
      const One<C> one;
      hn::Vec<One<C>> term[K];
      body(one, i, term);
      for (int k = 0; k < K; ++k) tail_[k][l] += hn::GetLane(term[k]);
    }
  }

  HWY_INLINE double total(int k) const {
    const D d;
    alignas(64) C lane[32];
    for (size_t j = 0; j < kAcc; ++j) hn::StoreU(acc_[k][j], d, lane + j * kLanes);
    double sum[16];
    for (size_t l = 0; l < 16; ++l) {
      sum[l] = (static_cast<double>(lane[l]) + static_cast<double>(lane[l + 16])) + static_cast<double>(tail_[k][l]);
    }
    for (size_t half = 8; half >= 1; half /= 2) {
      for (size_t l = 0; l < half; ++l) sum[l] += sum[l + half];
    }
    return sum[0];
  }

 private:
  hn::Vec<D> acc_[K][kAcc];
  C tail_[K][16] = {};
};

}  // namespace HWY_NAMESPACE
}  // namespace ballast::lanes
HWY_AFTER_NAMESPACE();

#endif
