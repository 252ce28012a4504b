// Shared by the kernels of this room: loads and stores of every storage type, activations. Included
// once per target, by Highway's pattern. Only Mul and Add, never a fused multiply-add: the bits are those of every target.
#if defined(BALLAST_NORM_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BALLAST_NORM_KERNEL_INL_H_
#undef BALLAST_NORM_KERNEL_INL_H_
#else
#define BALLAST_NORM_KERNEL_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <ballast/base/lanes_inl.h>
#include <ballast/norm/kernel_types.h>

HWY_BEFORE_NAMESPACE();
namespace ballast::norm_kernel {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
struct ComputeOf {
  using type = float;
};
template <>
struct ComputeOf<double> {
  using type = double;
};
template <class T>
using Compute = typename ComputeOf<T>::type;

using lanes::HWY_NAMESPACE::exp_of;
using lanes::HWY_NAMESPACE::LaneSums;
using lanes::HWY_NAMESPACE::One;
using lanes::HWY_NAMESPACE::Tag;

template <class D>
HWY_INLINE hn::Vec<D> load(D d, const float* p) {
  return hn::LoadU(d, p);
}
template <class D>
HWY_INLINE hn::Vec<D> load(D d, const double* p) {
  return hn::LoadU(d, p);
}
template <class D>
HWY_INLINE hn::Vec<D> load(D d, const uint16_t* p) {
  const hn::Rebind<uint16_t, D> narrow;
  const hn::Rebind<uint32_t, D> bits;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(bits, hn::LoadU(narrow, p))));
}

template <class D>
HWY_INLINE void store(D d, hn::Vec<D> v, float* p) {
  hn::StoreU(v, d, p);
}
template <class D>
HWY_INLINE void store(D d, hn::Vec<D> v, double* p) {
  hn::StoreU(v, d, p);
}
// Rounded to nearest, ties to even; NaN stays NaN.
template <class D>
HWY_INLINE void store(D, hn::Vec<D> v, uint16_t* p) {
  const hn::Rebind<uint16_t, D> narrow;
  const hn::Rebind<uint32_t, D> unsigned_bits;
  const hn::Rebind<int32_t, D> bits;
  const auto u = hn::BitCast(unsigned_bits, v);
  const auto odd = hn::And(hn::ShiftRight<16>(u), hn::Set(unsigned_bits, 1));
  auto rounded = hn::ShiftRight<16>(hn::Add(u, hn::Add(odd, hn::Set(unsigned_bits, 0x7fff))));
  rounded = hn::IfThenElse(hn::RebindMask(unsigned_bits, hn::IsNaN(v)), hn::Set(unsigned_bits, 0x7fc0), rounded);
  hn::StoreU(hn::DemoteTo(narrow, hn::BitCast(bits, rounded)), narrow, p);
}

// Past the caches: whole vectors of float32 at addresses that are multiples of their size.
template <class T, class D>
HWY_INLINE void store_or_stream(D d, hn::Vec<D> v, T* p, bool stream) {
  if constexpr (sizeof(T) == sizeof(float) && (HWY_TARGET == HWY_SCALAR || hn::MaxLanes(D()) > 1)) {
    if (stream) return hn::Stream(v, d, p);
  }
  store(d, v, p);
}

// One bit per element; `i` is the element's index in its plane or row.
template <class D>
HWY_INLINE hn::Mask<D> load_bits(D d, const uint8_t* bits, size_t i) {
  uint8_t own[8] = {};
  if (hn::Lanes(d) >= 8) {
    std::memcpy(own, bits + i / 8, hn::Lanes(d) / 8);
  } else {
    own[0] = static_cast<uint8_t>(bits[i / 8] >> (i % 8));
  }
  return hn::LoadMaskBits(d, own);
}
template <class D>
HWY_INLINE void store_bits(D d, hn::Mask<D> mask, uint8_t* bits, size_t i) {
  uint8_t own[8] = {};
  hn::StoreMaskBits(d, mask, own);
  if (hn::Lanes(d) >= 8) {
    std::memcpy(bits + i / 8, own, hn::Lanes(d) / 8);
  } else if (i % 8 == 0) {
    bits[i / 8] = own[0];
  } else {
    bits[i / 8] = static_cast<uint8_t>(bits[i / 8] | own[0] << (i % 8));
  }
}

struct PhiNone {
  template <class D>
  HWY_INLINE hn::Vec<D> value(D, hn::Vec<D> z) const { return z; }
  template <class D>
  HWY_INLINE hn::Vec<D> gradient(D, hn::Vec<D> dy, hn::Vec<D>) const { return dy; }
  static constexpr bool kNeedsZ = false;
};

struct PhiRelu {
  template <class D>
  HWY_INLINE hn::Vec<D> value(D d, hn::Vec<D> z) const {
    return hn::IfThenZeroElse(hn::Le(z, hn::Zero(d)), z);  // keeps NaN
  }
  template <class D>
  HWY_INLINE hn::Vec<D> gradient(D d, hn::Vec<D> dy, hn::Vec<D> z) const {
    return hn::IfThenZeroElse(hn::Le(z, hn::Zero(d)), dy);
  }
  static constexpr bool kNeedsZ = true;
};

// The others: calls, so that a kernel's loops stay small.
struct PhiAny {
  Phi phi;
  double a;

  template <class D>
  HWY_INLINE hn::Vec<D> sigmoid(D d, hn::Vec<D> z) const {
    using C = hn::TFromD<D>;
    return hn::Div(hn::Set(d, C(1)), hn::Add(hn::Set(d, C(1)), exp_of(d, hn::Neg(z))));
  }
  template <class D>
  HWY_NOINLINE hn::Vec<D> value(D d, hn::Vec<D> z) const {
    using C = hn::TFromD<D>;
    const auto zero = hn::Zero(d), six = hn::Set(d, C(6));
    switch (phi) {
      case Phi::none: return z;
      case Phi::relu: return hn::IfThenZeroElse(hn::Le(z, zero), z);
      case Phi::leaky_relu: return hn::IfThenElse(hn::Le(z, zero), hn::Mul(z, hn::Set(d, static_cast<C>(a))), z);
      case Phi::relu6: return hn::IfThenElse(hn::Gt(z, six), six, hn::IfThenZeroElse(hn::Le(z, zero), z));
      case Phi::hardswish: {
        const auto gate = hn::Min(hn::Max(hn::Add(z, hn::Set(d, C(3))), zero), six);
        return hn::Mul(z, hn::Mul(gate, hn::Set(d, C(1.0 / 6))));
      }
      case Phi::silu: return hn::Mul(z, sigmoid(d, z));
    }
    return z;
  }
  template <class D>
  HWY_NOINLINE hn::Vec<D> gradient(D d, hn::Vec<D> dy, hn::Vec<D> z) const {
    using C = hn::TFromD<D>;
    const auto zero = hn::Zero(d), one = hn::Set(d, C(1));
    switch (phi) {
      case Phi::none: return dy;
      case Phi::relu: return hn::IfThenZeroElse(hn::Le(z, zero), dy);
      case Phi::leaky_relu: return hn::IfThenElse(hn::Le(z, zero), hn::Mul(dy, hn::Set(d, static_cast<C>(a))), dy);
      case Phi::relu6:
        return hn::IfThenZeroElse(hn::Or(hn::Le(z, zero), hn::Gt(z, hn::Set(d, C(6)))), dy);
      case Phi::hardswish: {
        const auto inner = hn::Add(hn::Mul(z, hn::Set(d, C(1.0 / 3))), hn::Set(d, C(0.5)));
        const auto slope = hn::IfThenElse(hn::Gt(z, hn::Set(d, C(3))), one,
                                          hn::IfThenZeroElse(hn::Lt(z, hn::Set(d, C(-3))), inner));
        return hn::Mul(dy, slope);
      }
      case Phi::silu: {
        const auto s = sigmoid(d, z);
        return hn::Mul(dy, hn::Mul(s, hn::Add(one, hn::Mul(z, hn::Sub(one, s)))));
      }
    }
    return dy;
  }
  static constexpr bool kNeedsZ = true;
};

// Calls f with the activation as a type: the two common ones inline; in float64, which is for checks, all by calls.
template <class T, class F>
HWY_INLINE void with_phi(const Slope& slope, const F& f) {
  if constexpr (sizeof(T) < sizeof(double)) {
    if (slope.phi == Phi::none) return f(PhiNone());
    if (slope.phi == Phi::relu) return f(PhiRelu());
  }
  f(PhiAny{slope.phi, slope.a});
}

// Where a bit was stored: slope 1 at set bits, a elsewhere.
template <class D>
HWY_INLINE hn::Vec<D> gradient_by_bit(D d, hn::Vec<D> dy, hn::Mask<D> one, double a) {
  using C = hn::TFromD<D>;
  return a == 0 ? hn::IfThenElseZero(one, dy) : hn::IfThenElse(one, dy, hn::Mul(dy, hn::Set(d, static_cast<C>(a))));
}

}  // namespace HWY_NAMESPACE
}  // namespace ballast::norm_kernel
HWY_AFTER_NAMESPACE();

#endif
