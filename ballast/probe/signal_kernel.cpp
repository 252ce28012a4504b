#include <ballast/probe/signal_kernel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/probe/signal_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ballast::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void AddRow(const float* x, const float* shift, size_t n, float low, float high, const ColumnSums& sums) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto zero = hn::Zero(d), one = hn::Set(d, 1.0F), vl = hn::Set(d, low), vh = hn::Set(d, high);
  size_t j = 0;
  for (; j + lanes <= n; j += lanes) {
    const auto v = hn::LoadU(d, x + j);
    const auto e = hn::Sub(v, hn::LoadU(d, shift + j));
    hn::StoreU(hn::Add(hn::LoadU(d, sums.sum + j), e), d, sums.sum + j);
    hn::StoreU(hn::Add(hn::LoadU(d, sums.square + j), hn::Mul(e, e)), d, sums.square + j);
    hn::StoreU(hn::Add(hn::LoadU(d, sums.zeros + j), hn::IfThenElseZero(hn::Eq(v, zero), one)), d, sums.zeros + j);
    const auto out = hn::Or(hn::Le(v, vl), hn::Ge(v, vh));
    hn::StoreU(hn::Add(hn::LoadU(d, sums.outside + j), hn::IfThenElseZero(out, one)), d, sums.outside + j);
  }
  add_row_reference(x + j, shift + j, n - j, low, high, {sums.sum + j, sums.square + j, sums.zeros + j, sums.outside + j});
}

}  // namespace HWY_NAMESPACE
}  // namespace ballast::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast::detail {

HWY_EXPORT(AddRow);

void add_row_reference(const float* x, const float* shift, size_t n, float low, float high, const ColumnSums& sums) {
  for (size_t j = 0; j < n; ++j) {
    const float e = x[j] - shift[j];
    sums.sum[j] += e;
    sums.square[j] += e * e;
    sums.zeros[j] += x[j] == 0 ? 1.0F : 0.0F;
    sums.outside[j] += x[j] <= low || x[j] >= high ? 1.0F : 0.0F;
  }
}

void add_row(const float* x, const float* shift, size_t n, float low, float high, const ColumnSums& sums) {
  HWY_DYNAMIC_DISPATCH(AddRow)(x, shift, n, low, high, sums);
}

}  // namespace ballast::detail
#endif
