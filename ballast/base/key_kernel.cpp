#include <ballast/base/key_kernel.h>

#include <ballast/base/as241.h>
#include <ballast/base/detmath.h>
#include <ballast/base/key.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/base/key_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <ballast/base/lanes_inl.h>
#include <ballast/base/philox_inl.h>

// Compiled with -ffp-contract=off: every operation below is the scalar function's, in its order.

HWY_BEFORE_NAMESPACE();
namespace ballast {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR

void UniformGroups(uint64_t key, uint64_t group, double* out, size_t groups) {
  uniform_groups_reference(key, group, out, groups);
}
void NormalQuantiles(double* x, size_t n) { normal_quantiles_reference(x, n); }

#else

using U = hn::CappedTag<uint64_t, 16>;
using F = hn::CappedTag<double, 16>;
using VU = hn::Vec<U>;
using VF = hn::Vec<F>;
constexpr double kTwo52 = 0x1p52;

using lanes::HWY_NAMESPACE::log_of;

HWY_INLINE VF Uniform(VU bits) {
  const U du;
  const F df;
  const VU k = hn::Or(hn::ShiftRight<12>(bits), hn::Set(du, uint64_t{0x4330000000000000}));
  const VF value = hn::Sub(hn::BitCast(df, k), hn::Set(df, kTwo52));
  return hn::Mul(hn::Add(value, hn::Set(df, 0.5)), hn::Set(df, 0x1p-52));
}

// A lane is a Philox4x32-10 block.
void UniformGroups(uint64_t key, uint64_t group, double* HWY_RESTRICT out, size_t groups) {
  const U du;
  const F df;
  const size_t lanes = hn::Lanes(du);
  const VU low = hn::Set(du, uint64_t{0xffffffff});
  for (size_t g = 0; g < groups; ++g, out += 32) {
    const uint64_t block = 16 * (group + g);
    for (size_t lane = 0; lane < 16; lane += lanes) {
      lanes::HWY_NAMESPACE::PhiloxBlocks<VU> b{.c0 = hn::Add(hn::Set(du, block + lane), hn::Iota(du, 0))};
      lanes::HWY_NAMESPACE::philox_stream(key, static_cast<uint32_t>(block >> 32), b);
      hn::StoreU(Uniform(hn::Or(hn::And(b.c0, low), hn::ShiftLeft<32>(b.c1))), df, out + lane);
      hn::StoreU(Uniform(hn::Or(hn::And(b.c2, low), hn::ShiftLeft<32>(b.c3))), df, out + 16 + lane);
    }
  }
}

template <size_t N>
HWY_INLINE VF Horner(const double (&c)[N], VF r) {
  const F df;
  VF sum = hn::Set(df, c[N - 1]);
  for (size_t i = N - 1; i-- > 0;) {
    sum = hn::Add(hn::Mul(sum, r), hn::Set(df, c[i]));
  }
  return sum;
}

HWY_INLINE VF Ratio(const double (&a)[8], const double (&b)[8], VF r) { return hn::Div(Horner(a, r), Horner(b, r)); }

// Numbers with abs(u - 1/2) > 0.425, `lanes` of them.
HWY_INLINE void Tail(double* u) {
  namespace c = detail::as241;
  const F df;
  const VF x = hn::LoadU(df, u);
  const VF q = hn::Sub(x, hn::Set(df, 0.5));
  const auto below = hn::Lt(q, hn::Zero(df));
  const VF rest = hn::IfThenElse(below, x, hn::Sub(hn::Set(df, 1.0), x));
  if (!hn::AllTrue(df, hn::Ge(rest, hn::Set(df, 0x1p-1000)))) {  // outside (0, 1), NaN, or next to 0
    normal_quantiles_reference(u, hn::Lanes(df));
    return;
  }
  const VF r = hn::Sqrt(hn::Neg(log_of(rest)));
  VF z = Ratio(c::kC, c::kD, hn::Sub(r, hn::Set(df, 1.6)));
  const auto near = hn::Le(r, hn::Set(df, 5.0));
  if (!hn::AllTrue(df, near)) {
    z = hn::IfThenElse(near, z, Ratio(c::kE, c::kF, hn::Sub(r, hn::Set(df, 5.0))));
  }
  hn::StoreU(hn::IfThenElse(below, hn::Neg(z), z), df, u);
}

void NormalQuantiles(double* HWY_RESTRICT x, size_t n) {
  namespace c = detail::as241;
  constexpr size_t kPart = 512;
  const U du;
  const F df;
  const size_t lanes = hn::Lanes(df);
  // The sixth of the numbers that lies in the tails is gathered, so that both branches fill their vectors.
  HWY_ALIGN double tail[kPart + 16];
  HWY_ALIGN uint64_t place[kPart + 16];
  for (size_t begin = 0; begin < n; begin += kPart) {
    double* part = x + begin;
    const size_t count = HWY_MIN(kPart, n - begin);
    size_t tails = 0, i = 0;
    for (; i + lanes <= count; i += lanes) {
      const VF u = hn::LoadU(df, part + i);
      const VF q = hn::Sub(u, hn::Set(df, 0.5));
      const auto outside = hn::Not(hn::Le(hn::Abs(q), hn::Set(df, 0.425)));
      if (!hn::AllFalse(df, outside)) {
        const VU where = hn::Add(hn::Set(du, uint64_t{i}), hn::Iota(du, 0));
        hn::CompressStore(where, hn::RebindMask(du, outside), du, place + tails);
        tails += hn::CompressStore(u, outside, df, tail + tails);
      }
      const VF r = hn::Sub(hn::Set(df, 0.180625), hn::Mul(q, q));
      const VF z = hn::Div(hn::Mul(q, Horner(c::kA, r)), Horner(c::kB, r));
      hn::StoreU(z, df, part + i);
    }
    for (size_t t = tails; t < tails + lanes; ++t) {
      tail[t] = 0.01;
    }
    for (size_t t = 0; t < tails; t += lanes) {
      Tail(tail + t);
    }
    for (size_t t = 0; t < tails; ++t) {
      part[place[t]] = tail[t];
    }
    normal_quantiles_reference(part + i, count - i);
  }
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace ballast
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast {
HWY_EXPORT(UniformGroups);
HWY_EXPORT(NormalQuantiles);

void uniform_groups(uint64_t key_bits, uint64_t group, double* out, size_t groups) {
  HWY_DYNAMIC_DISPATCH(UniformGroups)(key_bits, group, out, groups);
}

void normal_quantiles(double* x, size_t n) { HWY_DYNAMIC_DISPATCH(NormalQuantiles)(x, n); }

void uniform_groups_reference(uint64_t key_bits, uint64_t group, double* out, size_t groups) {
  for (size_t j = 0; j < 32 * groups; ++j) {
    out[j] = uniform(Key(key_bits), 32 * group + j);
  }
}

void normal_quantiles_reference(double* x, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    x[i] = normal_quantile(x[i]);
  }
}

}  // namespace ballast
#endif
