#include <ballast/control/what_if.h>

#include <gtest/gtest.h>

#include <cmath>

namespace ballast {
namespace {

std::vector<WhatIfCheck> checks_of(const std::vector<double>& values, double se = 0) {
  std::vector<WhatIfCheck> checks;
  for (const double v : values) {
    const auto k = static_cast<int64_t>(checks.size()) + 1;
    checks.push_back({.check = {.value = v, .epoch = k, .step = 10 * k}, .value_se = se});
  }
  return checks;
}

EarlyStoppingOptions patience(int64_t p) {
  EarlyStoppingOptions options;
  options.patience = p;
  return options;
}

TEST(WhatIf, TellsWhatWouldHaveBeenSavedAndLost) {
  // Best of the run is 2 at check 8; patience 2 stops at check 5 with 3.
  const auto checks = checks_of({5, 4, 3, 3.5, 3.5, 3.5, 3.5, 2, 4, 4}, 0.3);
  const WhatIfRow two = what_if(patience(2), checks);
  EXPECT_EQ(two.stop_check, 5);
  EXPECT_EQ(two.reason, StopReason::patience);
  EXPECT_EQ(two.epoch, 5);
  EXPECT_EQ(two.step, 50);
  EXPECT_DOUBLE_EQ(two.saved, 0.5);
  EXPECT_EQ(two.best, 3);
  EXPECT_EQ(two.best_step, 30);
  EXPECT_DOUBLE_EQ(two.lost, 1);
  EXPECT_DOUBLE_EQ(*two.lost_in_se, 1 / std::hypot(0.3, 0.3));
  const WhatIfRow five = what_if(patience(5), checks);
  EXPECT_FALSE(five.stop_check);
  EXPECT_EQ(five.saved, 0);
  EXPECT_EQ(five.best, 2);
  EXPECT_EQ(five.lost, 0);
  EXPECT_EQ(five.lost_in_se, 0);
}

TEST(WhatIf, WithoutStandardErrorsOnlyTheUnitsAreTold) {
  EXPECT_FALSE(what_if(patience(1), checks_of({3, 3, 1})).lost_in_se);
}

TEST(WhatIf, ValuesThatAreNotFiniteAreNeverTheBest) {
  const WhatIfRow row = what_if(patience(3), checks_of({std::nan(""), 2, std::nan(""), 1}));
  EXPECT_EQ(row.best, 1);
  EXPECT_FALSE(what_if(patience(3), checks_of({std::nan("")})).best);
  EXPECT_FALSE(what_if(patience(3), {}).stop_check);
}

TEST(WhatIf, TheOptionsOfTheRunCountToo) {
  EarlyStoppingOptions options = patience(1);
  options.mode = MonitorMode::max;
  options.warmup_checks = 2;
  const WhatIfRow row = what_if(options, checks_of({0.9, 0.8, 0.5, 0.4, 0.6}));
  EXPECT_EQ(row.stop_check, 4);
  EXPECT_EQ(row.best, 0.5);
  EXPECT_DOUBLE_EQ(row.lost, 0.4);
}

}  // namespace
}  // namespace ballast
