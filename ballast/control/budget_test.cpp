#include <ballast/control/budget.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace ballast {
namespace {

TEST(Budget, TheCheckAndTheSaveMustStillFit) {
  const BudgetFacts facts{.elapsed = 90, .step_time = 1, .check_time = 5, .save_time = 2};
  EXPECT_TRUE(fits_budget(facts, 100, 3));
  EXPECT_FALSE(fits_budget(facts, 100, 4));
  EXPECT_EQ(steps_that_fit(facts, 100, 1000), 3);
  EXPECT_EQ(steps_that_fit(facts, 100, 2), 2);
  EXPECT_FALSE(fits_budget(facts, 96, 0));
  EXPECT_EQ(steps_that_fit(facts, 96, 1000), 0);
}

TEST(Budget, WithoutALimitAllFits) {
  EXPECT_TRUE(fits_budget({.elapsed = 1e9, .step_time = 1e9}, 0, 1000));
  EXPECT_EQ(steps_that_fit({.elapsed = 1e9, .step_time = 1e9}, 0, 7), 7);
}

TEST(Budget, UnmeasuredStepsFit) {
  EXPECT_TRUE(fits_budget({}, 1, 1000));
  EXPECT_EQ(steps_that_fit({}, 1, 1000), 1000);
}

TEST(Budget, RefusesTimesThatAreNone) {
  EXPECT_THAT([] { fits_budget({.elapsed = -1}, 1); },
              testing::ThrowsMessage<std::invalid_argument>(
                  "[budget] elapsed must be 0 or more seconds, got -1"));
  EXPECT_THROW(fits_budget({.step_time = NAN}, 1), std::invalid_argument);
  EXPECT_THROW(steps_that_fit({.check_time = INFINITY}, 1, 1), std::invalid_argument);
  EXPECT_THROW(fits_budget({}, 1, -1), std::invalid_argument);
  EXPECT_THROW(steps_that_fit({}, 1, -1), std::invalid_argument);
}

}  // namespace
}  // namespace ballast
