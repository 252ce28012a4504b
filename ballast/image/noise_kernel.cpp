#include <ballast/image/noise_kernel.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include <ballast/base/key.h>
#include <ballast/image/color.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/image/noise_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <ballast/base/lanes_inl.h>
#include <ballast/base/philox_inl.h>

// Compiled with -ffp-contract=off: every operation below is the scalar function's, in its order.

HWY_BEFORE_NAMESPACE();
namespace ballast::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR

void Normals(uint64_t key, uint32_t slot, uint64_t first, float* out, size_t n) {
  field_normals_reference(key, slot, first, out, n);
}
void Add(uint8_t* p, const float* z, size_t n, float mean, float sigma) { add_noise_reference(p, z, n, mean, sigma); }

#else

using U = hn::CappedTag<uint64_t, 16>;
using D = hn::CappedTag<double, 16>;
using F = hn::Rebind<float, D>;
using VU = hn::Vec<U>;
using VD = hn::Vec<D>;
using VF = hn::Vec<F>;
constexpr size_t kPart = 512;

using lanes::HWY_NAMESPACE::log_of;

/// (word + 1/2) 2^-32 of the low halves.
HWY_INLINE VD Uniform(VU word) {
  const U du;
  const D dd;
  const VU low = hn::And(word, hn::Set(du, uint64_t{0xffffffff}));
  const VD value = hn::Sub(hn::BitCast(dd, hn::Or(low, hn::Set(du, uint64_t{0x4330000000000000}))), hn::Set(dd, 0x1p52));
  return hn::Mul(hn::Add(value, hn::Set(dd, 0.5)), hn::Set(dd, 0x1p-32));
}

/// kPart uniform numbers from `block` on; a lane is a block, whose four words stand side by side.
HWY_INLINE void Uniforms(uint64_t key, uint32_t slot, uint64_t block, double* out) {
  const U du;
  const D dd;
  const size_t lanes = hn::Lanes(du);
  for (size_t at = 0; at < kPart / 4; at += lanes, out += 4 * lanes) {
    const VU index = hn::Add(hn::Set(du, block + at), hn::Iota(du, 0));
    lanes::HWY_NAMESPACE::PhiloxBlocks<VU> b{hn::Set(du, uint64_t{slot}), hn::Zero(du), index, hn::ShiftRight<32>(index)};
    lanes::HWY_NAMESPACE::philox_rounds(0, key, b);
    hn::StoreInterleaved4(Uniform(b.c0), Uniform(b.c1), Uniform(b.c2), Uniform(b.c3), dd, out);
  }
}

template <size_t N, class DF>
HWY_INLINE hn::Vec<DF> Horner(DF df, const float (&c)[N], hn::Vec<DF> r) {
  auto sum = hn::Set(df, c[0]);
  for (size_t i = 1; i < N; ++i) sum = hn::Add(hn::Mul(sum, r), hn::Set(df, c[i]));
  return sum;
}

/// Numbers with abs(u - 1/2) > 0.425, a vector of them.
HWY_INLINE VF Tail(VD u) {
  static constexpr float a[] = {0.17023821103F, 1.3067284816F, 2.7568153900F, 1.4234372777F};
  static constexpr float b[] = {0.12021132975F, 0.73700164250F, 1.0F};
  static constexpr float c[] = {0.017337203997F, 0.42868294337F, 3.0812263860F, 6.6579051150F};
  static constexpr float d[] = {0.012258202635F, 0.24197894225F, 1.0F};
  const D dd;
  const F df;
  const auto below = hn::Lt(u, hn::Set(dd, 0.5));
  const VD rest = hn::IfThenElse(below, u, hn::Sub(hn::Set(dd, 1.0), u));
  const VF r = hn::DemoteTo(df, hn::Sqrt(hn::Neg(log_of(rest))));
  const auto near = hn::Le(r, hn::Set(df, 5.0F));
  const VF s = hn::Sub(r, hn::Set(df, 1.6F));
  VF z = hn::Div(Horner(df, a, s), Horner(df, b, s));
  if (!hn::AllTrue(df, near)) {
    const VF t = hn::Sub(r, hn::Set(df, 5.0F));
    z = hn::IfThenElse(near, z, hn::Div(Horner(df, c, t), Horner(df, d, t)));
  }
  const VF q = hn::DemoteTo(df, hn::Sub(u, hn::Set(dd, 0.5)));
  return hn::IfThenElse(hn::Lt(q, hn::Zero(df)), hn::Neg(z), z);
}

HWY_INLINE void Quantiles(const double* u, float* out) {
  static constexpr float a[] = {59.109374720F, 159.29113202F, 50.434271938F, 3.3871327179F};
  static constexpr float b[] = {67.187563600F, 78.757757664F, 17.895169469F, 1.0F};
  const D dd;
  const F half;
  const hn::Repartition<float, D> df;
  const hn::Rebind<uint32_t, decltype(df)> du;
  const size_t lanes = hn::Lanes(dd), pair = hn::Lanes(df);
  // The sixth of the numbers that lies in the tails is gathered, so that both branches fill their vectors.
  HWY_ALIGN uint32_t place[kPart + 32];
  HWY_ALIGN double tail[16];
  HWY_ALIGN float made[16];
  size_t tails = 0;
  for (size_t i = 0; i < kPart; i += pair) {
    const auto q_of = [&](size_t at) HWY_ATTR { return hn::DemoteTo(half, hn::Sub(hn::Load(dd, u + at), hn::Set(dd, 0.5))); };
    const auto q = hn::Combine(df, q_of(i + lanes), q_of(i));
    const auto outside = hn::Gt(hn::Abs(q), hn::Set(df, 0.425F));
    const auto where = hn::Add(hn::Set(du, static_cast<uint32_t>(i)), hn::Iota(du, 0));
    tails += hn::CompressStore(where, hn::RebindMask(du, outside), du, place + tails);
    const auto r = hn::Sub(hn::Set(df, 0.180625F), hn::Mul(q, q));
    hn::StoreU(hn::Div(hn::Mul(q, Horner(df, a, r)), Horner(df, b, r)), df, out + i);
  }
  for (size_t t = 0; t < tails; t += lanes) {
    const size_t some = std::min(lanes, tails - t);
    for (size_t k = 0; k < lanes; ++k) tail[k] = u[place[t + std::min(k, some - 1)]];
    hn::Store(Tail(hn::Load(dd, tail)), half, made);
    for (size_t k = 0; k < some; ++k) out[place[t + k]] = made[k];
  }
}

void Normals(uint64_t key, uint32_t slot, uint64_t first, float* out, size_t n) {
  HWY_ALIGN double u[kPart];
  HWY_ALIGN float z[kPart];
  size_t skip = first % 4;
  for (uint64_t block = first / 4; n > 0; block += kPart / 4) {
    Uniforms(key, slot, block, u);
    Quantiles(u, z);
    const size_t count = std::min(kPart - skip, n);
    std::memcpy(out, z + skip, count * sizeof(float));
    out += count;
    n -= count;
    skip = 0;
  }
}

void Add(uint8_t* p, const float* z, size_t n, float mean, float sigma) {
  const hn::ScalableTag<float> df;
  const hn::Rebind<int32_t, decltype(df)> di;
  const hn::Rebind<uint8_t, decltype(df)> d8;
  const size_t lanes = hn::Lanes(df);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto noise = hn::Add(hn::Set(df, mean), hn::Mul(hn::Set(df, sigma), hn::LoadU(df, z + i)));
    const auto v = hn::Add(hn::ConvertTo(df, hn::PromoteTo(di, hn::LoadU(d8, p + i))), hn::Mul(hn::Set(df, 255.0F), noise));
    const auto clamped = hn::Min(hn::Max(v, hn::Zero(df)), hn::Set(df, 255.0F));
    hn::StoreU(hn::DemoteTo(d8, hn::NearestInt(clamped)), d8, p + i);
  }
  add_noise_reference(p + i, z + i, n - i, mean, sigma);
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace ballast::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast::detail {

HWY_EXPORT(Normals);
HWY_EXPORT(Add);

void field_normals_reference(uint64_t key_bits, uint32_t slot, uint64_t first, float* out, size_t n) {
  FieldWords words(Key(key_bits), slot);
  for (size_t k = 0; k < n; ++k) out[k] = field_normal(words(first + k));
}

void add_noise_reference(uint8_t* p, const float* z, size_t n, float mean, float sigma) {
  for (size_t i = 0; i < n; ++i) {
    const float v = static_cast<float>(p[i]) + 255.0F * (mean + sigma * z[i]);
    p[i] = static_cast<uint8_t>(std::clamp(std::nearbyint(v), 0.0F, 255.0F));
  }
}

void field_normals(uint64_t key_bits, uint32_t slot, uint64_t first, float* out, size_t n) {
  HWY_DYNAMIC_DISPATCH(Normals)(key_bits, slot, first, out, n);
}
void add_noise(uint8_t* p, const float* z, size_t n, float mean, float sigma) {
  HWY_DYNAMIC_DISPATCH(Add)(p, z, n, mean, sigma);
}

}  // namespace ballast::detail
#endif
