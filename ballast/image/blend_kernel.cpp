#include <ballast/image/blend_kernel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/image/blend_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ballast::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void Blend(const float* a, const float* b, float lam, float* out, size_t n) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto l = hn::Set(d, lam), r = hn::Set(d, 1.0F - lam);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(hn::Add(hn::Mul(hn::LoadU(d, a + i), l), hn::Mul(hn::LoadU(d, b + i), r)), d, out + i);
  }
  blend_reference(a + i, b + i, lam, out + i, n - i);
}

}  // namespace HWY_NAMESPACE
}  // namespace ballast::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast::detail {

HWY_EXPORT(Blend);

void blend_reference(const float* a, const float* b, float lam, float* out, size_t n) {
  const float rest = 1.0F - lam;
  for (size_t i = 0; i < n; ++i) out[i] = a[i] * lam + b[i] * rest;
}

void blend(const float* a, const float* b, float lam, float* out, size_t n) {
  HWY_DYNAMIC_DISPATCH(Blend)(a, b, lam, out, n);
}

}  // namespace ballast::detail
#endif
