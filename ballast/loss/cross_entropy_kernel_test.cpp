#include <ballast/loss/cross_entropy_kernel.h>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <ballast/base/cpu.h>

namespace ballast::loss_kernel {
namespace {

class CrossEntropyKernel : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_simd_target(GetParam()); }
  void TearDown() override { force_simd_target(""); }
};
INSTANTIATE_TEST_SUITE_P(Targets, CrossEntropyKernel, testing::ValuesIn(simd_targets()));

// w_k q'_k of a row, by the definition.
template <class T>
std::vector<double> weighted_target(const Target<T>& t, size_t n) {
  std::vector<double> q(t.classes, 0.0);
  if (t.probabilities != nullptr) {
    for (size_t k = 0; k < t.classes; ++k) q[k] = t.probabilities[n * t.classes + k];
  } else if (t.a[n] == t.ignored) {
    return q;
  } else {
    const double lam = t.b != nullptr ? t.lam[n * t.lam_stride] : T(1);
    q[static_cast<size_t>(t.a[n])] += lam;
    if (t.b != nullptr) q[static_cast<size_t>(t.b[n])] += 1 - lam;
  }
  for (size_t k = 0; k < t.classes; ++k) {
    q[k] = (1 - t.smoothing) * q[k] + t.smoothing / static_cast<double>(t.classes);
    if (t.weight != nullptr) q[k] *= t.weight[k];
  }
  return q;
}

template <class T>
void expect_row_formulas(double tolerance) {
  constexpr size_t kRows = 3;
  for (size_t classes : {1u, 2u, 3u, 7u, 15u, 16u, 17u, 31u, 32u, 33u, 47u, 67u, 1000u}) {
    std::vector<T> x(kRows * classes), q(kRows * classes), weight(classes), lam(kRows), grad(kRows);
    std::vector<int64_t> a(kRows), b(kRows);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(4 * std::sin(12.9898 * static_cast<double>(i)));
    for (size_t k = 0; k < classes; ++k) weight[k] = static_cast<T>(0.25 * static_cast<double>(k % 5));  // 0 among them
    for (size_t n = 0; n < kRows; ++n) {
      a[n] = static_cast<int64_t>((n * 5 + 1) % classes);
      b[n] = static_cast<int64_t>((n * 3 + 2) % classes);
      lam[n] = static_cast<T>(0.25 * static_cast<double>(n + 1));
      grad[n] = static_cast<T>(1.5 - static_cast<double>(n));
      double sum = 0;
      for (size_t k = 0; k < classes; ++k) sum += 1 + std::cos(static_cast<double>(k + n));
      for (size_t k = 0; k < classes; ++k) {
        q[n * classes + k] = static_cast<T>((1 + std::cos(static_cast<double>(k + n))) / sum);
      }
    }
    a[1] = -100;  // ignored
    for (int form = 0; form < 3; ++form) {
      for (double e : {0.0, 0.1}) {
        for (bool weighted : {false, true}) {
          Target<T> t;
          t.classes = classes;
          t.smoothing = e;
          if (weighted) t.weight = weight.data();
          if (form == 0) {
            t.a = a.data();
          } else if (form == 1) {
            t.a = b.data(), t.b = b.data(), t.lam = lam.data(), t.lam_stride = 1;
          } else {
            t.probabilities = q.data();
          }
          std::vector<T> loss(kRows + 1, T(77)), stats(kRows * kRowStats), dx(x.size() + 1, T(77));
          cross_entropy(x.data(), kRows, t, loss.data(), stats.data());
          cross_entropy_backward(x.data(), kRows, t, stats.data(), grad.data(), 1, dx.data());
          EXPECT_EQ(loss[kRows], T(77)) << "behind the end";
          EXPECT_EQ(dx[x.size()], T(77)) << "behind the end";
          for (size_t n = 0; n < kRows; ++n) {
            const std::vector<double> wq = weighted_target(t, n);
            const T* row = x.data() + n * classes;
            long double long_sum = 0, long_total = 0;
            for (size_t k = 0; k < classes; ++k) long_sum += std::exp(static_cast<long double>(row[k])), long_total += wq[k];
            const auto sum = static_cast<double>(long_sum), total = static_cast<double>(long_total);
            double want = 0, size = 1e-30;
            for (size_t k = 0; k < classes; ++k) {
              want -= wq[k] * (static_cast<double>(row[k]) - std::log(sum));
              size += wq[k] * std::abs(static_cast<double>(row[k]) - std::log(sum));
            }
            ASSERT_NEAR(static_cast<double>(loss[n]), want, tolerance * size) << classes << " form " << form;
            for (size_t k = 0; k < classes; ++k) {
              const double p = std::exp(static_cast<double>(row[k])) / sum, g = static_cast<double>(grad[n]);
              const double bound = tolerance * (std::abs(g) * (p * total + wq[k]) + 1e-30);
              ASSERT_NEAR(static_cast<double>(dx[n * classes + k]), g * (p * total - wq[k]), bound) << classes << ' ' << k;
            }
          }
        }
      }
    }
  }
}

TEST_P(CrossEntropyKernel, FollowsTheFormulasAtEveryLengthInFloat) { expect_row_formulas<float>(2e-6); }
TEST_P(CrossEntropyKernel, FollowsTheFormulasAtEveryLengthInDouble) { expect_row_formulas<double>(1e-14); }

TEST_P(CrossEntropyKernel, BitsAreThoseOfTheScalarTarget) {
  std::vector<float> x(3 * 77), loss(3), stats(3 * kRowStats), dx(x.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(9 * std::sin(0.37 * static_cast<double>(i)));
  const std::vector<int64_t> a = {5, 0, 76};
  const std::vector<float> grad = {0.3f};
  Target<float> t;
  t.classes = 77, t.a = a.data(), t.smoothing = 0.1;
  const auto run = [&] {
    cross_entropy(x.data(), 3, t, loss.data(), stats.data());
    cross_entropy_backward(x.data(), 3, t, stats.data(), grad.data(), 0, dx.data());
  };
  run();
  const std::vector<float> own_loss = loss, own_dx = dx;
  force_simd_target(simd_targets().back());
  run();
  EXPECT_EQ(own_loss, loss);
  EXPECT_EQ(own_dx, dx);
}

TEST_P(CrossEntropyKernel, EdgesOfTheNumbers) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<int64_t> a = {0};
  Target<float> t;
  t.classes = 20, t.a = a.data();
  const std::vector<float> one = {1};
  const auto run = [&](size_t place, float value, float& loss, std::vector<float>& dx) {
    std::vector<float> x(20, 1.0f), stats(kRowStats);
    x[place] = value;
    dx.assign(20, 7.0f);
    cross_entropy(x.data(), 1, t, &loss, stats.data());
    cross_entropy_backward(x.data(), 1, t, stats.data(), one.data(), 0, dx.data());
  };
  float loss = 0;
  std::vector<float> dx;
  for (size_t place : {3u, 17u}) {
    run(place, -inf, loss, dx);  // a masked class
    EXPECT_FLOAT_EQ(loss, std::log(19.0f));
    EXPECT_EQ(dx[place], 0.0f);
    run(place, nan, loss, dx);
    EXPECT_TRUE(std::isnan(loss));
    EXPECT_TRUE(std::isnan(dx[place]));
    run(place, inf, loss, dx);
    EXPECT_TRUE(std::isnan(loss));
    run(place, -200.0f, loss, dx);  // e^-201 is 0 in float
    EXPECT_EQ(dx[place], 0.0f);
  }
  run(0, -inf, loss, dx);  // the target's own score
  EXPECT_EQ(loss, inf);
}

}  // namespace
}  // namespace ballast::loss_kernel
