#include <ballast/base/detmath.h>
#include <ballast/base/key.h>
#include <gtest/gtest.h>

#include <bit>
#include <cfloat>
#include <cmath>
#include <limits>

namespace ballast {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// |value - exact| in units of the last place of `exact` as a double.
double ulps(double value, long double exact) {
  const auto rounded = static_cast<double>(exact);
  if (value == rounded) {
    // Cheap exit that also covers infinities; the error is then at most half an ulp.
    return 0.5;
  }
  const double ulp = std::max(std::abs(std::nextafter(rounded, kInf) - rounded), DBL_TRUE_MIN);
  return static_cast<double>(std::abs(static_cast<long double>(value) - exact) / ulp);
}

/// Worst error of `f` against long double over n arguments drawn by `draw`.
template <class F, class G, class Draw>
double worst(F f, G exact, Draw draw, uint64_t n = 100'000) {
  double w = 0.0;
  for (uint64_t i = 0; i < n; ++i) {
    const double x = draw(i);
    w = std::max(w, ulps(f(x), exact(static_cast<long double>(x))));
  }
  return w;
}

auto between(uint64_t key, double a, double b) {
  return [=](uint64_t i) { return a + (b - a) * uniform(Key(key), i); };
}

#define NEEDS_LONG_DOUBLE                                       \
  if (LDBL_MANT_DIG < 64) {                                     \
    GTEST_SKIP() << "long double is no wider than double here"; \
  }

TEST(DetMath, ExpIsWithinOneUlp) {
  NEEDS_LONG_DOUBLE
  const auto exact = [](long double x) { return std::exp(x); };
  EXPECT_LT(worst(det_exp, exact, between(1, -708.0, 709.7)), 0.75);
  EXPECT_LT(worst(det_exp, exact, between(2, -1.0, 1.0)), 0.75);
  EXPECT_LT(worst(det_exp, exact, between(3, -745.0, -708.0)), 1.0);
}

TEST(DetMath, ExpAtTheEnds) {
  EXPECT_EQ(det_exp(0.0), 1.0);
  EXPECT_EQ(det_exp(-kInf), 0.0);
  EXPECT_EQ(det_exp(kInf), kInf);
  EXPECT_EQ(det_exp(710.0), kInf);
  EXPECT_EQ(det_exp(-746.0), 0.0);
  EXPECT_EQ(det_exp(800.0), kInf);
  EXPECT_EQ(det_exp(-800.0), 0.0);
  EXPECT_TRUE(std::isnan(det_exp(kNan)));
  EXPECT_EQ(det_exp(-745.13), DBL_TRUE_MIN);
}

TEST(DetMath, LogIsWithinOneUlp) {
  NEEDS_LONG_DOUBLE
  const auto exact = [](long double x) { return std::log(x); };
  EXPECT_LT(worst(det_log, exact, between(4, 0.0, 1.0)), 0.95);
  EXPECT_LT(worst(det_log, exact, between(5, 0.5, 2.0)), 0.95);
  EXPECT_LT(worst(det_log, exact, between(6, 0.999, 1.001)), 0.95);
  EXPECT_LT(worst(det_log, exact, between(7, 0.0, 1e308)), 0.95);
  EXPECT_LT(worst(det_log, exact, between(8, 0.0, 1e-308)), 0.95);
}

TEST(DetMath, LogAtTheEnds) {
  EXPECT_EQ(det_log(1.0), 0.0);
  EXPECT_EQ(det_log(0.0), -kInf);
  EXPECT_EQ(det_log(-0.0), -kInf);
  EXPECT_EQ(det_log(kInf), kInf);
  EXPECT_TRUE(std::isnan(det_log(-1.0)));
  EXPECT_TRUE(std::isnan(det_log(kNan)));
}

TEST(DetMath, SinAndCosAreWithinOneUlp) {
  NEEDS_LONG_DOUBLE
  const auto sine = [](long double x) { return std::sin(x); };
  const auto cosine = [](long double x) { return std::cos(x); };
  for (const double limit : {0.8, 7.0, 1000.0, 1048576.0}) {
    EXPECT_LT(worst(det_sin, sine, between(9, -limit, limit)), 0.95) << limit;
    EXPECT_LT(worst(det_cos, cosine, between(10, -limit, limit)), 0.95) << limit;
  }
}

TEST(DetMath, SinAndCosAtTheEnds) {
  EXPECT_EQ(det_sin(0.0), 0.0);
  EXPECT_TRUE(std::signbit(det_sin(-0.0)));
  EXPECT_EQ(det_cos(0.0), 1.0);
  EXPECT_NEAR(det_sin(1.5707963267948966), 1.0, 0.0);
  EXPECT_EQ(det_cos(1.5707963267948966), 6.123233995736766e-17);
  for (const double x : {1048577.0, kInf, -kInf, kNan}) {
    EXPECT_TRUE(std::isnan(det_sin(x)));
    EXPECT_TRUE(std::isnan(det_cos(x)));
  }
}

TEST(DetMath, PowIsWithinOneUlp) {
  NEEDS_LONG_DOUBLE
  double w = 0.0;
  for (uint64_t i = 0; i < 50'000; ++i) {
    const double x = det_exp(12.0 * (uniform(Key(11), i) - 0.5));
    const double y = 200.0 * (uniform(Key(12), i) - 0.5);
    // glibc's powl is good to about an ulp of long double times |y ln x| / 64; 0.2 covers it.
    w = std::max(
        w, ulps(det_pow(x, y), std::pow(static_cast<long double>(x), static_cast<long double>(y))));
  }
  EXPECT_LT(w, 0.95);
}

TEST(DetMath, PowOfIntegersIsExact) {
  EXPECT_EQ(det_pow(3.0, 20.0), 3486784401.0);
  EXPECT_EQ(det_pow(-2.0, 3.0), -8.0);
  EXPECT_EQ(det_pow(-2.0, 4.0), 16.0);
  EXPECT_EQ(det_pow(2.0, -1074.0), DBL_TRUE_MIN);
  EXPECT_EQ(det_pow(2.0, 1023.0), 0x1p1023);
}

TEST(DetMath, PowAgreesWithCInSpecialCases) {
  const double values[] = {0.0, -0.0,  1.0,    -1.0, 0.5,  -0.5,  2.0, -3.0,
                           2.5, 1e300, -1e300, 1e20, kInf, -kInf, kNan};
  for (const double x : values) {
    for (const double y : values) {
      const double expected = std::pow(x, y);
      const double got = det_pow(x, y);
      if (std::isnan(expected)) {
        EXPECT_TRUE(std::isnan(got)) << x << " ^ " << y;
      } else if (std::isinf(expected) || expected == 0.0) {
        EXPECT_EQ(std::bit_cast<uint64_t>(got), std::bit_cast<uint64_t>(expected))
            << x << " ^ " << y;
      } else {
        EXPECT_NEAR(got / expected, 1.0, 3e-16) << x << " ^ " << y;
      }
    }
  }
}

TEST(NormalQuantile, MatchesPublishedValues) {
  // Wichura's test values: 0.25, 0.001, 1e-20.
  EXPECT_NEAR(normal_quantile(0.25), -0.6744897501960817, 1e-15);
  EXPECT_NEAR(normal_quantile(0.001), -3.090232306167814, 3e-15);
  EXPECT_NEAR(normal_quantile(1e-20), -9.262340089798408, 1e-14);
}

TEST(NormalQuantile, InvertsTheDistribution) {
  for (double z = -8.0; z <= 0.0; z += 0.03125) {
    const double u = 0.5 * std::erfc(-z / std::sqrt(2.0));
    EXPECT_NEAR(normal_quantile(u), z, 2e-15 * std::max(1.0, std::abs(z))) << z;
  }
}

TEST(NormalQuantile, IsOddAndHandlesTheEnds) {
  EXPECT_EQ(normal_quantile(0.5), 0.0);
  for (const double u : {0x1p-53, 0x1p-30, 0.0625, 0.25}) {
    EXPECT_EQ(normal_quantile(1.0 - u), -normal_quantile(u));
  }
  EXPECT_EQ(normal_quantile(0.0), -kInf);
  EXPECT_EQ(normal_quantile(1.0), kInf);
  EXPECT_TRUE(std::isnan(normal_quantile(-0.1)));
  EXPECT_TRUE(std::isnan(normal_quantile(1.1)));
  EXPECT_TRUE(std::isnan(normal_quantile(kNan)));
}

}  // namespace
}  // namespace ballast
