#include <ballast/control/lr_range.h>

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include <ballast/base/key.h>

namespace ballast {
namespace {

TEST(LrRange, RatesAreExponentialFromFirstToLast) {
  LrRange range({.from = 1e-6, .to = 1, .steps = 61, .smoothing = 0, .stop_factor = 4});
  for (int i = 0; i <= 60; ++i) {
    EXPECT_NEAR(range.next_lr(), std::pow(10, -6 + i / 10.0), 1e-12 * range.next_lr() + 1e-18);
    EXPECT_EQ(range.add(1), i < 60);
  }
  EXPECT_FALSE(range.diverged());
}

TEST(LrRange, AverageIsBiasCorrected) {
  LrRange range({.smoothing = 0.5});
  const double losses[] = {4, 2, 8};
  for (const double loss : losses) range.add(loss);
  // (4/4 + 2/2 ... ) by hand: a = 2, 2, 5; weights 1/2, 3/4, 7/8.
  EXPECT_DOUBLE_EQ(range.points()[0].smoothed, 4);
  EXPECT_DOUBLE_EQ(range.points()[1].smoothed, 2 / 0.75);
  EXPECT_DOUBLE_EQ(range.points()[2].smoothed, 5 / 0.875);
}

// loss = 2 - tanh(u - u0) falls fastest at u0 and is lowest at its end.
TEST(LrRange, SteepestIsThePointOfInflection) {
  LrRange range({.from = 1e-4, .to = 1, .steps = 101, .smoothing = 0});
  for (int i = 0; i < 101; ++i) range.add(2 - std::tanh((i - 60) / 8.0));
  ASSERT_TRUE(range.steepest());
  EXPECT_NEAR(*range.steepest(), std::pow(10, -4 + 60 / 25.0), 1e-9);
  EXPECT_NEAR(range.min_tenth().value(), 0.1, 1e-9);
}

TEST(LrRange, MinimumIsWhereTheLossIsLowest) {
  LrRange range({.from = 1e-4, .to = 1, .steps = 101, .smoothing = 0});
  for (int i = 0; i < 101; ++i) range.add(1 + std::pow((i - 70) / 50.0, 2));
  EXPECT_NEAR(range.min_tenth().value(), std::pow(10, -4 + 70 / 25.0) / 10, 1e-9);
}

// Noise of the first steps must not look like a fall: the loss is flat at first, and falls around step 130.
TEST(LrRange, SteepestWithstandsNoise) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    LrRange range({});
    for (uint64_t i = 0; i < 200; ++i) {
      const double u = static_cast<double>(i);
      if (!range.add(2 - std::tanh((u - 130) / 15) + 0.15 * normal(Key(seed), i))) break;
    }
    ASSERT_TRUE(range.steepest());
    const double at = (std::log10(*range.steepest()) + 7) / 8 * 199;
    EXPECT_NEAR(at, 130, 15) << seed;
  }
}

TEST(LrRange, EndsAtFourTimesTheLowest) {
  LrRange range({.steps = 200, .smoothing = 0});
  int n = 0;
  while (range.add(n < 20 ? 1 : n < 30 ? 3.99 : 4.01)) ++n;
  EXPECT_EQ(n, 30);
  EXPECT_TRUE(range.diverged());
}

TEST(LrRange, NotFiniteEndsAndIsLeftOut) {
  LrRange range({});
  EXPECT_TRUE(range.add(1));
  EXPECT_FALSE(range.add(std::numeric_limits<double>::quiet_NaN()));
  EXPECT_EQ(range.points().size(), 1u);
  EXPECT_FALSE(range.min_tenth());
  EXPECT_FALSE(range.steepest());
}

TEST(LrRange, RisingLossHasNoSteepest) {
  LrRange range({.steps = 40, .smoothing = 0});
  for (int i = 0; i < 40; ++i) range.add(1 + i * 0.01);
  EXPECT_FALSE(range.steepest());
}

TEST(LrRange, Errors) {
  const auto text = [](const LrRangeOptions& o) {
    try {
      LrRange{o};
      return std::string();
    } catch (const std::invalid_argument& e) {
      return std::string(e.what());
    }
  };
  EXPECT_EQ(text({.from = 0}), "[lr_range] from must be > 0, got 0");
  EXPECT_EQ(text({.from = 1, .to = 1}), "[lr_range] to must be above from, got 1 and 1");
  EXPECT_EQ(text({.steps = 19}), "[lr_range] steps must be at least 20, got 19");
  EXPECT_EQ(text({.smoothing = 1}), "[lr_range] smoothing must be in [0, 1), got 1");
  EXPECT_EQ(text({.stop_factor = 1}), "[lr_range] stop_factor must be > 1, got 1");
}

}  // namespace
}  // namespace ballast
