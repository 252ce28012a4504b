#include <ballast/ensemble/select_kernel.h>

#include <ballast/base/detmath.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/ensemble/select_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ballast {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Whole groups of 16: leaves mantissas in [1, 2) and exponents in `mantissa` and `exponent`.
void LogProducts(const double* HWY_RESTRICT s, const float* HWY_RESTRICT p, double sign, size_t groups, double* mantissa,
                 double* exponent) {
  const hn::CappedTag<double, 8> d;
  const hn::Rebind<float, decltype(d)> df;
  const hn::RebindToUnsigned<decltype(d)> du;
  const hn::RebindToSigned<decltype(d)> di;
  const size_t lanes = hn::Lanes(d);
  const auto signs = hn::Set(d, sign);
  for (size_t lane = 0; lane < 16; lane += lanes) {
    auto product = hn::Set(d, 1.0);
    auto sum = hn::Zero(di);
    for (size_t g = 0; g < groups;) {
      const size_t end = HWY_MIN(g + 8, groups);
      for (; g < end; ++g) {
        const size_t i = g * 16 + lane;
        const auto x = hn::Add(hn::LoadU(d, s + i), hn::Mul(signs, hn::PromoteTo(d, hn::LoadU(df, p + i))));
        product = hn::Mul(product, x);
      }
      const auto bits = hn::BitCast(du, product);
      sum = hn::Add(sum, hn::Sub(hn::BitCast(di, hn::ShiftRight<52>(bits)), hn::Set(di, 1023)));
      product = hn::BitCast(d, hn::Or(hn::And(bits, hn::Set(du, 0x000fffffffffffff)), hn::Set(du, 0x3ff0000000000000)));
    }
    hn::StoreU(product, d, mantissa + lane);
    HWY_ALIGN int64_t whole[8];
    hn::StoreU(sum, di, whole);
    for (size_t j = 0; j < lanes; ++j) exponent[lane + j] = static_cast<double>(whole[j]);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ballast
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <bit>
#include <cmath>

namespace ballast {
HWY_EXPORT(LogProducts);

namespace {

constexpr double kLn2 = 0.6931471805599453;

double finish(const double* s, const float* p, double sign, size_t n, const double* mantissa, const double* exponent) {
  double sum = 0, whole = 0;
  for (size_t lane = 0; lane < 16; ++lane) {
    sum += det_log(mantissa[lane]);
    whole += exponent[lane];
  }
  for (size_t i = n / 16 * 16; i < n; ++i) sum += det_log(s[i] + sign * static_cast<double>(p[i]));
  return whole * kLn2 + sum;
}

}  // namespace

double sum_log(const double* s, const float* p, double sign, size_t n) {
  double mantissa[16], exponent[16];
  HWY_DYNAMIC_DISPATCH(LogProducts)(s, p, sign, n / 16, mantissa, exponent);
  return finish(s, p, sign, n, mantissa, exponent);
}

double sum_log_reference(const double* s, const float* p, double sign, size_t n) {
  double mantissa[16], exponent[16];
  for (size_t lane = 0; lane < 16; ++lane) {
    mantissa[lane] = 1;
    exponent[lane] = 0;
    for (size_t g = 0; g < n / 16; ++g) {
      mantissa[lane] *= s[g * 16 + lane] + sign * static_cast<double>(p[g * 16 + lane]);
      if (g % 8 == 7 || g + 1 == n / 16) {
        const auto bits = std::bit_cast<uint64_t>(mantissa[lane]);
        exponent[lane] += static_cast<double>(static_cast<int64_t>(bits >> 52) - 1023);
        mantissa[lane] = std::bit_cast<double>((bits & 0x000fffffffffffff) | 0x3ff0000000000000);
      }
    }
  }
  return finish(s, p, sign, n, mantissa, exponent);
}

}  // namespace ballast
#endif
