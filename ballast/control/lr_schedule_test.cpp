#include <ballast/control/lr_schedule.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace ballast {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// PyTorch's values, written by tests/golden/lr_schedule.py.
void expect_pytorch(const char* name, const LrScheduleOptions& options) {
  std::ifstream file(BALLAST_TEST_SOURCE_DIR "/tests/golden/lr_schedule.json");
  const auto golden = nlohmann::json::parse(file).at("cases").at(name);
  const auto lr = golden.at("lr").get<std::vector<double>>();
  const auto momentum = golden.at("momentum").get<std::vector<double>>();
  const auto total = static_cast<int64_t>(lr.size());
  for (int64_t t = 0; t < total; ++t) {
    const auto i = static_cast<size_t>(t);
    EXPECT_NEAR(lr_at(options, t, total), lr[i], 1e-9 * 0.2) << name << " step " << t;
    EXPECT_NEAR(momentum_at(options, t, total, 0.9), momentum[i], 1e-9) << name << " step " << t;
  }
}

TEST(LrSchedule, ConstantEqualsPyTorch) {
  expect_pytorch("constant", {.name = LrScheduleName::constant, .lr = 0.2});
}
TEST(LrSchedule, StepEqualsPyTorch) {
  expect_pytorch("step", {.name = LrScheduleName::step, .lr = 0.2, .every = 7, .gamma = 0.3});
}
TEST(LrSchedule, MultistepEqualsPyTorch) {
  expect_pytorch(
      "multistep",
      {.name = LrScheduleName::multistep, .lr = 0.2, .gamma = 0.5, .milestones = {5, 17, 18, 40}});
}
TEST(LrSchedule, CosineEqualsPyTorch) {
  expect_pytorch("cosine", {.lr = 0.2});
  expect_pytorch("cosine_min", {.lr = 0.2, .min_lr = 0.01});
}
TEST(LrSchedule, CosineWithRestartsEqualsPyTorch) {
  const LrScheduleOptions cycles{.lr = 0.2, .min_lr = 0.01, .cycles = 3, .cycle_mult = 2};
  expect_pytorch("cosine_cycles", cycles);
  expect_pytorch("cosine_equal_cycles", {.lr = 0.2, .cycles = 3});
  std::vector<int64_t> restarts;
  for (int64_t t = 0; t < 70; ++t) {
    if (cycle_restarts_at(cycles, t, 70)) restarts.push_back(t);
  }
  EXPECT_EQ(restarts, (std::vector<int64_t>{10, 30}));
}
TEST(LrSchedule, PeaksOfCyclesDecay) {
  const LrScheduleOptions cycles{.lr = 0.4, .min_lr = 0.08, .warmup_steps = 10, .cycles = 4, .cycle_decay = 0.5};
  EXPECT_DOUBLE_EQ(lr_at(cycles, 10, 110), 0.4);
  EXPECT_DOUBLE_EQ(lr_at(cycles, 35, 110), 0.2);
  EXPECT_DOUBLE_EQ(lr_at(cycles, 60, 110), 0.1);
  EXPECT_DOUBLE_EQ(lr_at(cycles, 85, 110), 0.08);  // never below min_lr
  EXPECT_TRUE(cycle_restarts_at(cycles, 35, 110));
  EXPECT_FALSE(cycle_restarts_at(cycles, 10, 110));
  EXPECT_DOUBLE_EQ(lr_at({.lr = 0.4, .cycles = 9}, 1, 3), 0.4);  // more cycles than steps
}
TEST(LrSchedule, PlateauIsTheBaseItself) {
  EXPECT_EQ(lr_at({.name = LrScheduleName::plateau, .lr = 0.4}, 50, 110), 0.4);
}
TEST(LrSchedule, PolyEqualsPyTorch) {
  expect_pytorch("poly", {.name = LrScheduleName::poly, .lr = 0.2});
  expect_pytorch("poly_2", {.name = LrScheduleName::poly, .lr = 0.2, .power = 2.5});
}
TEST(LrSchedule, OneCycleEqualsPyTorch) {
  expect_pytorch("one_cycle", {.name = LrScheduleName::one_cycle, .lr = 0.2});
  expect_pytorch("one_cycle_options", {.name = LrScheduleName::one_cycle,
                                       .lr = 0.2,
                                       .pct_start = 0.41,
                                       .div = 10,
                                       .final_div = 100,
                                       .max_momentum = 0.9,
                                       .min_momentum = 0.8});
}
TEST(LrSchedule, WarmUpEqualsPyTorch) {
  expect_pytorch("cosine_warm", {.lr = 0.2, .warmup_steps = 10, .warmup_lr = 0.02});
  expect_pytorch("step_warm", {.name = LrScheduleName::step,
                               .lr = 0.2,
                               .warmup_steps = 5,
                               .warmup_lr = 0.02,
                               .every = 7,
                               .gamma = 0.3});
}

TEST(LrSchedule, WarmUpReachesTheBaseInItsLastStep) {
  const LrScheduleOptions options{.lr = 0.4, .warmup_steps = 5, .warmup_lr = 0.1};
  EXPECT_DOUBLE_EQ(lr_at(options, 0, 100), 0.1);
  EXPECT_DOUBLE_EQ(lr_at(options, 4, 100), 0.4);
  EXPECT_DOUBLE_EQ(lr_at(options, 5, 100), 0.4);
  EXPECT_LT(lr_at(options, 6, 100), 0.4);
  EXPECT_DOUBLE_EQ(lr_at({.lr = 0.4, .warmup_steps = 1}, 0, 100), 0.4);
}

TEST(LrSchedule, AWarmUpLongerThanTheRunIsTheRun) {
  EXPECT_DOUBLE_EQ(lr_at({.lr = 0.4, .warmup_steps = 50}, 9, 10), 0.4);
}

TEST(LrSchedule, PerEpochHoldsTheFirstStepsValue) {
  LrScheduleOptions options{.lr = 0.2};
  const double first = lr_at(options, 20, 100);
  options.per_epoch = true;
  options.steps_per_epoch = 10;
  for (int64_t t = 20; t < 30; ++t) EXPECT_EQ(lr_at(options, t, 100), first);
  EXPECT_LT(lr_at(options, 30, 100), first);
}

TEST(LrSchedule, ALaterStepCountsAsTheLast) {
  EXPECT_EQ(lr_at({.lr = 0.2}, 1000, 10), lr_at({.lr = 0.2}, 9, 10));
}

TEST(LrSchedule, RunsOfOneAndTwoStepsAreFinite) {
  for (const auto name :
       {LrScheduleName::constant, LrScheduleName::step, LrScheduleName::multistep,
        LrScheduleName::cosine, LrScheduleName::poly, LrScheduleName::one_cycle}) {
    for (const int64_t total : {1, 2, 3}) {
      for (int64_t t = 0; t < total; ++t) {
        const double lr = lr_at({.name = name, .lr = 0.2}, t, total);
        EXPECT_TRUE(lr > 0 && lr <= 0.2) << lr;
      }
    }
  }
}

TEST(LrSchedule, OnlyOneCycleMovesTheMomentum) {
  EXPECT_EQ(momentum_at({.lr = 0.2}, 5, 10, 0.7), 0.7);
}

TEST(LrSchedule, RefusesOptionsOutsideTheirRange) {
  using enum LrScheduleName;
  const auto refuse = [](const LrScheduleOptions& options, const char* message) {
    EXPECT_THAT([&] { lr_at(options, 0, 10); },
                ThrowsMessage<std::invalid_argument>(std::string("[lr_schedule] ") + message));
  };
  refuse({.lr = 0}, "lr must be above 0, got 0");
  refuse({.lr = NAN}, "lr must be above 0, got nan");
  refuse({.lr = 0.1, .min_lr = 0.2}, "min_lr must be in [0, lr = 0.1], got 0.2");
  refuse({.lr = 0.1, .warmup_lr = -1}, "warmup_lr must be in [0, lr = 0.1], got -1");
  refuse({.warmup_steps = -1}, "warmup must be 0 or more steps, got -1");
  refuse({.per_epoch = true}, "steps_per_epoch must be 1 or more, got 0");
  refuse({.cycles = 0}, "cycles must be 1 or more, got 0");
  refuse({.cycle_mult = 0.5}, "cycle_mult must be 1 or more, got 0.5");
  refuse({.cycle_decay = 0}, "cycle_decay must be in (0, 1], got 0");
  refuse({.name = step, .every = 0}, "every must be 1 or more steps, got 0");
  refuse({.name = step, .gamma = 0}, "gamma must be above 0, got 0");
  refuse({.name = multistep, .gamma = -1}, "gamma must be above 0, got -1");
  refuse({.name = multistep, .milestones = {3, 3}}, "milestones must rise, got 3 before 3");
  refuse({.name = poly, .power = 0}, "power must be above 0, got 0");
  refuse({.name = one_cycle, .warmup_steps = 5},
         "one_cycle rises by itself: warmup must be 0, got 5 steps");
  refuse({.name = one_cycle, .pct_start = 1}, "pct_start must be in (0, 1), got 1");
  refuse({.name = one_cycle, .div = 0}, "div must be above 0, got 0");
  refuse({.name = one_cycle, .final_div = 0}, "final_div must be above 0, got 0");
  refuse({.name = one_cycle, .max_momentum = 1}, "momentum of one_cycle must be in [0, 1), got 1");
  EXPECT_THROW(lr_at({}, -1, 10), std::invalid_argument);
  EXPECT_THROW(lr_at({}, 0, 0), std::invalid_argument);
}

}  // namespace
}  // namespace ballast
