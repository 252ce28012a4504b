#include <ballast/base/act.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace ballast {
namespace {

TEST(Act, EveryNameIsParsedBack) {
  for (std::string_view name : kActNames) EXPECT_EQ(act_name(parse_act(name)), name);
}

TEST(Act, AnUnknownNameIsAnsweredWithTheNearest) {
  try {
    parse_act("rleu");
    FAIL();
  } catch (const std::invalid_argument& e) {
    EXPECT_THAT(e.what(), testing::StartsWith("[act] act must be one of none, relu, relu6, "));
    EXPECT_THAT(e.what(), testing::EndsWith("got \"rleu\"; did you mean \"relu\"?"));
  }
}

TEST(Act, ValuesByHand) {
  EXPECT_EQ(act_value(Act::relu, -2, 0), 0);
  EXPECT_EQ(act_value(Act::relu6, 7, 0), 6);
  EXPECT_EQ(act_value(Act::leaky_relu, -2, 0.01), -0.02);
  EXPECT_DOUBLE_EQ(act_value(Act::elu, -1, 2), 2 * (std::exp(-1.0) - 1));
  EXPECT_NEAR(act_value(Act::selu, -1, 0), -1.1113307378125628, 1e-15);
  EXPECT_NEAR(act_value(Act::gelu, 1, 0), 0.84134474606854293, 1e-15);
  EXPECT_NEAR(act_value(Act::gelu_tanh, 1, 0), 0.84119199060827676, 1e-14);
  EXPECT_NEAR(act_value(Act::silu, 1, 0), 0.7310585786300049, 1e-15);
  EXPECT_NEAR(act_value(Act::mish, 1, 0), 0.8650983882673103, 1e-14);
  EXPECT_DOUBLE_EQ(act_value(Act::hardswish, 1, 0), 4.0 / 6);
  EXPECT_EQ(act_value(Act::hardswish, -4, 0), 0);
  EXPECT_DOUBLE_EQ(act_value(Act::softsign, -3, 0), -0.75);
  EXPECT_NEAR(act_value(Act::softplus, 800, 0), 800, 1e-12);
  EXPECT_GT(act_value(Act::softplus, -700, 0), 0);
}

TEST(Act, SlopesAreTheDerivatives) {
  for (size_t i = 0; i < kActNames.size(); ++i) {
    const Act act = static_cast<Act>(i);
    const double a = act_default_a(act);
    for (double z : {-5.3, -2.1, -0.7, 0.3, 1.9, 4.4, 7.1}) {
      const double h = 1e-5;
      const double numeric = (act_value(act, z + h, a) - act_value(act, z - h, a)) / (2 * h);
      EXPECT_NEAR(act_slope(act, z, a), numeric, 1e-8) << kActNames[i] << " at " << z;
    }
  }
}

}  // namespace
}  // namespace ballast
