#include <ballast/ensemble/calibrate_kernel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/ensemble/calibrate_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef BALLAST_ENSEMBLE_EXP64_CONSTANTS
#define BALLAST_ENSEMBLE_EXP64_CONSTANTS
#include <bit>
#include <cmath>
#include <cstdint>
namespace ballast::exp64 {
constexpr double kLog2E = 1.4426950408889634, kLn2Hi = 0x1.62e42feep-1, kLn2Lo = 0x1.a39ef35793c76p-33, kLowest = -700;
// 1/12! to 1/2!
constexpr double kTaylor[11] = {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
                                1.0 / 720,       1.0 / 120,      1.0 / 24,      1.0 / 6,      0.5};
}  // namespace ballast::exp64
#endif

HWY_BEFORE_NAMESPACE();
namespace ballast {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void TemperedSums(const float* HWY_RESTRICT d, size_t blocks, size_t k, double b, double* HWY_RESTRICT s0,
                  double* HWY_RESTRICT s1, double* HWY_RESTRICT s2) {
  namespace c = exp64;
  const hn::CappedTag<double, 8> dd;
  const hn::Rebind<float, decltype(dd)> df;
  const hn::RebindToSigned<decltype(dd)> di;
  const size_t lanes = hn::Lanes(dd);
  const auto inverse = hn::Set(dd, b);
  // 1.5 * 2^52: adding it rounds to an integer and leaves that in the low bits.
  const auto magic = hn::Set(dd, 0x1.8p52);
  const auto one = hn::Set(dd, 1.0);
  for (size_t block = 0; block < blocks; ++block) {
    for (size_t lane = 0; lane < 16; lane += lanes) {
      auto sum0 = hn::Zero(dd), sum1 = hn::Zero(dd), sum2 = hn::Zero(dd);
      for (size_t i = 0; i < k; ++i) {
        const auto x = hn::PromoteTo(dd, hn::LoadU(df, d + (block * k + i) * 16 + lane));
        const auto scaled = hn::Mul(x, inverse);
        const auto low = hn::Lt(scaled, hn::Set(dd, c::kLowest));
        const auto y = hn::Max(scaled, hn::Set(dd, c::kLowest));
        const auto shifted = hn::Add(hn::Mul(y, hn::Set(dd, c::kLog2E)), magic);
        const auto n = hn::Sub(shifted, magic);
        const auto r = hn::Sub(hn::Sub(y, hn::Mul(n, hn::Set(dd, c::kLn2Hi))), hn::Mul(n, hn::Set(dd, c::kLn2Lo)));
        auto q = hn::Set(dd, c::kTaylor[0]);
        for (int j = 1; j < 11; ++j) q = hn::Add(hn::Mul(q, r), hn::Set(dd, c::kTaylor[j]));
        const auto e = hn::Add(hn::Add(hn::Mul(hn::Mul(q, r), r), r), one);
        const auto power = hn::BitCast(dd, hn::ShiftLeft<52>(hn::Add(hn::BitCast(di, shifted), hn::Set(di, 1023))));
        const auto value = hn::IfThenZeroElse(low, hn::Mul(e, power));
        const auto first = hn::Mul(x, value);
        sum0 = hn::Add(sum0, value);
        sum1 = hn::Add(sum1, first);
        sum2 = hn::Add(sum2, hn::Mul(x, first));
      }
      hn::StoreU(sum0, dd, s0 + block * 16 + lane);
      hn::StoreU(sum1, dd, s1 + block * 16 + lane);
      hn::StoreU(sum2, dd, s2 + block * 16 + lane);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ballast
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast {
HWY_EXPORT(TemperedSums);

void tempered_sums(const float* d, size_t blocks, size_t k, double b, double* s0, double* s1, double* s2) {
  HWY_DYNAMIC_DISPATCH(TemperedSums)(d, blocks, k, b, s0, s1, s2);
}

void tempered_sums_reference(const float* d, size_t blocks, size_t k, double b, double* s0, double* s1, double* s2) {
  namespace c = exp64;
  for (size_t row = 0; row < blocks * 16; ++row) {
    s0[row] = s1[row] = s2[row] = 0;
    for (size_t i = 0; i < k; ++i) {
      const double x = d[(row / 16 * k + i) * 16 + row % 16];
      const double y = x * b;
      double e = 0;
      if (y >= c::kLowest) {
        const double n = (y * c::kLog2E + 0x1.8p52) - 0x1.8p52;
        const double r = (y - n * c::kLn2Hi) - n * c::kLn2Lo;
        double q = c::kTaylor[0];
        for (int j = 1; j < 11; ++j) q = q * r + c::kTaylor[j];
        e = ((q * r * r + r) + 1.0) * std::bit_cast<double>(static_cast<uint64_t>(static_cast<int64_t>(n) + 1023) << 52);
      }
      s0[row] += e;
      s1[row] += x * e;
      s2[row] += x * (x * e);
    }
  }
}

}  // namespace ballast
#endif
