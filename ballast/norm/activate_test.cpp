#include <ballast/norm/activate.h>

#include <gtest/gtest.h>

namespace ballast {
namespace {

TEST(Activate, EqualsTheScalarFormulaInPlaceAndNot) {
  for (size_t i = 0; i < kActNames.size(); ++i) {
    const Act act = static_cast<Act>(i);
    const double a = act_default_a(act);
    const torch::Tensor x = torch::linspace(-7.3, 7.1, 58, torch::kDouble);
    const torch::Tensor y = activate(x, act, a);
    const torch::Tensor own = x.clone();
    const torch::Tensor z = activate(own, act, a, true);
    for (int64_t k = 0; k < x.numel(); ++k) {
      const double expected = act_value(act, x[k].item<double>(), a);
      EXPECT_NEAR(y[k].item<double>(), expected, 1e-12) << kActNames[i];
      EXPECT_NEAR(z[k].item<double>(), expected, 1e-12) << kActNames[i];
    }
  }
}

TEST(Activate, GradientsEqualTheSlopeInPlaceAndNot) {
  for (size_t i = 0; i < kActNames.size(); ++i) {
    const Act act = static_cast<Act>(i);
    const double a = act_default_a(act);
    for (bool in_place : {false, true}) {
      torch::Tensor x = torch::linspace(-7.3, 7.1, 58, torch::kDouble).requires_grad_();
      activate(x * 1, act, a, in_place).sum().backward();
      for (int64_t k = 0; k < x.numel(); ++k) {
        EXPECT_NEAR(x.grad()[k].item<double>(), act_slope(act, x[k].item<double>(), a), 1e-9) << kActNames[i];
      }
    }
  }
}

}  // namespace
}  // namespace ballast
