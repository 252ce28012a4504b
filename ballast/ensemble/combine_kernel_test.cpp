#include <ballast/ensemble/combine_kernel.h>

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include <ballast/base/key.h>

namespace ballast {
namespace {

std::vector<float> scores(uint64_t seed, size_t n, double scale = 4) {
  std::vector<double> x(n);
  fill_normal(Key(seed), 0, x);
  std::vector<float> out(n);
  for (size_t i = 0; i < n; ++i) out[i] = static_cast<float>(scale * x[i]);
  return out;
}

template <class Fn>
void on_every_target(const Fn& fn) {
  for (int64_t targets = hwy::SupportedTargets(); targets != 0; targets &= targets - 1) {
    hwy::SetSupportedTargetsForTest(targets & -targets);
    fn(hwy::TargetName(targets & -targets));
  }
  hwy::SetSupportedTargetsForTest(0);
}

TEST(CombineKernel, WeightedSumsEqualTheReferenceBitForBitOnEveryTarget) {
  on_every_target([](const char* target) {
    for (size_t n = 0; n <= 67; ++n) {
      for (size_t members = 1; members <= 9; ++members) {
        std::vector<std::vector<float>> z;
        std::vector<const float*> rows;
        std::vector<float> w;
        for (size_t m = 0; m < members; ++m) {
          z.push_back(scores(m, n + 1));
          rows.push_back(z.back().data() + n % 2);
          w.push_back(0.1F * static_cast<float>(m + 1));
        }
        std::vector<float> a = scores(99, n + 1), b = a;
        add_weighted(rows.data(), w.data(), members, a.data(), n);
        add_weighted_reference(rows.data(), w.data(), members, b.data(), n);
        ASSERT_EQ(a, b) << target << ' ' << n << ' ' << members;
      }
    }
  });
}

TEST(CombineKernel, SoftmaxEqualsTheReferenceBitForBitOnEveryTarget) {
  on_every_target([](const char* target) {
    for (size_t rows : {0, 1, 3, 15, 16, 17, 33, 67}) {
      for (size_t k : {1, 2, 3, 10, 37}) {
        const std::vector<float> z = scores(rows * 100 + k, rows * k + 3, 20);
        std::vector<float> scratch(16 * k), a = scores(7, k * (rows + 1) + 1), b = a;
        EXPECT_TRUE(add_softmax(z.data() + 3, rows, k, 0.7F, 0.3F, a.data(), rows + 1, scratch.data()));
        EXPECT_TRUE(add_softmax_reference(z.data() + 3, rows, k, 0.7F, 0.3F, b.data(), rows + 1, scratch.data()));
        ASSERT_EQ(a, b) << target << ' ' << rows << 'x' << k;
      }
    }
  });
}

TEST(CombineKernel, SoftmaxReportsWhatIsNotFinite) {
  on_every_target([](const char* target) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
      for (size_t place : {0, 5, 16 * 3, 50, 99}) {
        std::vector<float> z = scores(1, 100), acc(100), scratch(16 * 3);
        z[place] = bad;
        EXPECT_EQ(add_softmax(z.data(), 33, 3, 1, 1, acc.data(), 33, scratch.data()), place == 99) << target << ' ' << place;
      }
    }
  });
}

TEST(CombineKernel, ExpIsGoodToTwoTenMillionths) {
  double worst = 0;
  for (int i = 0; i < 2'000'000; ++i) {
    const auto x = static_cast<float>(-87.3 * i / 2e6);
    const double e = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(exp_negative_reference(x) - e) / e);
  }
  EXPECT_LT(worst, 2e-7);
  EXPECT_EQ(exp_negative_reference(0), 1);
  EXPECT_EQ(exp_negative_reference(-88), 0);
  EXPECT_EQ(exp_negative_reference(-1e30F), 0);
}

}  // namespace
}  // namespace ballast
