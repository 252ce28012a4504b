#include <ballast/base/gain.h>

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <stdexcept>

namespace ballast {
namespace {

// Simpson's rule on each smooth piece of [-12, 12].
double expectation(const std::function<double(double)>& f) {
  const double cuts[] = {-12, -6, -3, 0, 3, 6, 12};
  double sum = 0;
  for (size_t p = 0; p + 1 < std::size(cuts); ++p) {
    const int n = 4000;
    const double h = (cuts[p + 1] - cuts[p]) / n;
    // The ends are taken just inside, so that a kink's slope is that of this piece.
    const auto at = [&](int i) {
      const double z = cuts[p] + h * i + (i == 0 ? 1e-13 : i == n ? -1e-13 : 0);
      return f(z) * std::exp(-0.5 * z * z) * std::numbers::inv_sqrtpi / std::numbers::sqrt2;
    };
    double piece = at(0) + at(n);
    for (int i = 1; i < n; ++i) piece += at(i) * (i % 2 ? 4 : 2);
    sum += piece * h / 3;
  }
  return sum;
}

TEST(Gain, TableEqualsQuadrature) {
  for (size_t i = 0; i < kActNames.size(); ++i) {
    const Act act = static_cast<Act>(i);
    if (act == Act::relu6) continue;  // counts as relu
    for (double a : {0.01, 0.2}) {
      const double p = act == Act::elu ? 1.0 : a;
      const double mean = expectation([&](double z) { return act_value(act, z, p); });
      const double second = expectation([&](double z) { return std::pow(act_value(act, z, p), 2); });
      const double slope = expectation([&](double z) { return std::pow(act_slope(act, z, p), 2); });
      EXPECT_NEAR(gain(act, a, GainRule::second_moment), 1 / std::sqrt(second), 1e-10) << kActNames[i];
      EXPECT_NEAR(gain(act, a, GainRule::variance), 1 / std::sqrt(second - mean * mean), 1e-10) << kActNames[i];
      EXPECT_NEAR(gain(act, a, GainRule::backward), 1 / std::sqrt(slope), 1e-10) << kActNames[i];
    }
  }
}

TEST(Gain, StandardIsPyTorchsTable) {
  EXPECT_EQ(gain(Act::none), 1);
  EXPECT_DOUBLE_EQ(gain(Act::relu), std::sqrt(2.0));
  EXPECT_EQ(gain(Act::relu6), gain(Act::relu));
  EXPECT_DOUBLE_EQ(gain(Act::leaky_relu, 0.2), std::sqrt(2 / 1.04));
  EXPECT_DOUBLE_EQ(gain(Act::tanh), 5.0 / 3);
  EXPECT_EQ(gain(Act::sigmoid), 1);
  EXPECT_EQ(gain(Act::selu), 0.75);
  EXPECT_EQ(gain(Act::gelu), gain(Act::gelu, 0, GainRule::second_moment));
}

TEST(Gain, ParameterMustBeFinite) {
  EXPECT_THROW(gain(Act::leaky_relu, std::numeric_limits<double>::quiet_NaN()), std::invalid_argument);
}

}  // namespace
}  // namespace ballast
