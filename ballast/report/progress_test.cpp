#include <ballast/report/progress.h>

#include <cmath>
#include <string>
#include <vector>

#include <ballast/report/table.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ballast {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

struct Screen {
  std::vector<std::string> writes;
  Progress::Sink sink() {
    return [this](std::string_view text) { writes.emplace_back(text); };
  }
};

ProgressNumbers at(int64_t epoch, int64_t step, double loss = 1.0) {
  return {.epoch = epoch, .epochs = 4, .step = step, .steps = 100, .images = (epoch * 100 + step) * 10,
          .images_in_epoch = 1000, .loss = loss, .lr = 0.1};
}

TEST(ProgressStyle, FollowsTerminalAndEnvironment) {
  EXPECT_EQ(choose_progress_style(true, "xterm", nullptr).mode, ProgressMode::bar);
  EXPECT_TRUE(choose_progress_style(true, "xterm", nullptr).color);
  EXPECT_TRUE(choose_progress_style(true, "xterm", "").color);
  EXPECT_FALSE(choose_progress_style(true, "xterm", "1").color);
  EXPECT_EQ(choose_progress_style(true, "dumb", nullptr).mode, ProgressMode::plain);
  EXPECT_EQ(choose_progress_style(true, nullptr, nullptr).mode, ProgressMode::plain);
  EXPECT_EQ(choose_progress_style(false, "xterm", nullptr).mode, ProgressMode::plain);
  EXPECT_FALSE(choose_progress_style(false, "xterm", nullptr).color);
}

TEST(Progress, BarIsDrawnAtMostTenTimesASecond) {
  Screen screen;
  Progress progress({.mode = ProgressMode::bar}, screen.sink());
  for (int i = 1; i < 100; ++i) {
    progress.update(at(0, i), i * 0.01);
  }
  EXPECT_LE(screen.writes.size(), 11u);
  EXPECT_GE(screen.writes.size(), 9u);
}

TEST(Progress, PlainLinesComeAtMostEveryThirtySeconds) {
  Screen screen;
  Progress progress({.mode = ProgressMode::plain}, screen.sink());
  for (int i = 1; i <= 90; ++i) {
    progress.update(at(0, i), i);
  }
  ASSERT_EQ(screen.writes.size(), 2u);
  EXPECT_EQ(screen.writes[0],
            "epoch 1/4  step 31/100  10 images/s  epoch 1:09  left 6:09  loss 1.000  lr 0.1\n");
}

TEST(Progress, RateAndTimesLeaveChecksOut) {
  Screen screen;
  Progress progress({.mode = ProgressMode::none}, screen.sink());
  for (int i = 1; i <= 100; ++i) {
    progress.update(at(0, i), i);
  }
  progress.check({.epoch = 1, .epochs = 4, .value = 0.5}, 150);
  for (int i = 1; i <= 10; ++i) {
    progress.update(at(1, i), 150 + i);
  }
  EXPECT_NEAR(progress.images_per_second(), 10, 1e-9);
  EXPECT_TRUE(screen.writes.empty());
}

TEST(Progress, TimeLeftOfTheRunCountsTheChecksToCome) {
  Screen screen;
  Progress progress({.mode = ProgressMode::plain, .plain_interval = 0}, screen.sink());
  for (int i = 1; i <= 100; ++i) {
    progress.update(at(0, i), i);
  }
  progress.check({.epoch = 1, .epochs = 4, .value = 0.5}, 120);  // 20 s each
  screen.writes.clear();
  progress.update(at(1, 10), 130);
  // 2,900 images at 10/s and three checks of 20 s.
  EXPECT_THAT(screen.writes.at(0), HasSubstr("left 5:50"));
}

TEST(Progress, LossIsABiasCorrectedAverage) {
  Screen screen;
  Progress progress({.mode = ProgressMode::none}, screen.sink());
  EXPECT_TRUE(std::isnan(progress.smoothed_loss()));
  progress.update(at(0, 1, 3.0), 1);
  EXPECT_NEAR(progress.smoothed_loss(), 3.0, 1e-12);
  for (int i = 2; i <= 21; ++i) {
    progress.update(at(0, i, 1.0), i);
  }
  // After one half-life the first value weighs half of what it did; w = d^20 (1-d) / (1 - d^21).
  double d = std::pow(0.5, 1.0 / 20);
  EXPECT_NEAR(progress.smoothed_loss(), 1 + 2 * 0.5 * (1 - d) / (1 - std::pow(d, 21)), 1e-12);
  progress.update(at(0, 22, std::nan("")), 22);
  EXPECT_TRUE(std::isfinite(progress.smoothed_loss()));
}

TEST(Progress, ACheckLeavesALineWithItsChange) {
  Screen screen;
  Progress progress({.mode = ProgressMode::bar, .width = 200}, screen.sink());
  progress.update(at(0, 100), 1);
  screen.writes.clear();
  progress.check({.epoch = 1, .epochs = 4, .loss = 0.5, .value = 0.881, .best = 0.869, .improved = true}, 2);
  ASSERT_EQ(screen.writes.size(), 2u);
  EXPECT_EQ(screen.writes[0], "\r\x1b[2K");
  EXPECT_EQ(screen.writes[1], "epoch 1/4  val  top1 88.1 % (+1.2)  loss 0.5000  train loss 1.0000  best\n");
  progress.update(at(1, 1), 3);
  EXPECT_THAT(screen.writes.back(), EndsWith("val 88.1 % +1.2"));
  progress.check({.epoch = 2, .epochs = 4, .value = 0.87, .best = 0.881, .wait = 1, .patience = 3}, 4);
  EXPECT_THAT(screen.writes.back(), HasSubstr("(-1.1)"));
  EXPECT_THAT(screen.writes.back(), HasSubstr("no better for 1 of 3"));
}

TEST(Progress, BarFitsAnyWidthAndLosesTheLeastImportantFirst) {
  bool lr_shown = false;
  for (int64_t width = 40; width <= 200; ++width) {
    Screen screen;
    Progress progress({.mode = ProgressMode::bar, .width = width}, screen.sink());
    progress.update(at(0, 1), 1);
    progress.check({.epoch = 1, .epochs = 4, .value = 0.5}, 1);
    progress.update(at(1, 50), 2);
    std::string bar = screen.writes.back();
    ASSERT_THAT(bar, StartsWith("\r\x1b[2K"));
    EXPECT_LT(display_width(bar.substr(5)), width) << bar;
    EXPECT_THAT(bar, HasSubstr("epoch 2/4"));
    if (width >= 80) {
      EXPECT_THAT(bar, HasSubstr("loss"));
      EXPECT_THAT(bar, HasSubstr("left"));
    }
    bool lr = bar.find("lr ") != std::string::npos;
    EXPECT_TRUE(lr || !lr_shown) << "shown on a narrower terminal, but not at " << width;
    EXPECT_TRUE(!lr || (bar.find("epoch 0:") != std::string::npos && bar.find("val") != std::string::npos));
    lr_shown = lr;
  }
  EXPECT_TRUE(lr_shown);
}

TEST(Progress, NoColorMeansNoColour) {
  for (bool color : {false, true}) {
    Screen screen;
    Progress progress({.mode = ProgressMode::bar, .color = color}, screen.sink());
    progress.update(at(0, 50), 1);
    EXPECT_EQ(screen.writes[0].find("\x1b[36m") != std::string::npos, color);
  }
}

TEST(Progress, ALineTakesTheBarAwayAndFinishDoesItOnce) {
  Screen screen;
  Progress progress({.mode = ProgressMode::bar}, screen.sink());
  progress.update(at(0, 1), 1);
  progress.line("warning: a picture could not be read");
  ASSERT_EQ(screen.writes.size(), 3u);
  EXPECT_EQ(screen.writes[2], "warning: a picture could not be read\n");
  progress.finish();
  EXPECT_EQ(screen.writes.size(), 3u);
  progress.update(at(0, 2), 2);
  progress.finish();
  progress.finish();
  EXPECT_EQ(screen.writes.size(), 5u);
}

TEST(Progress, PlainModeWritesNoControlCharacters) {
  Screen screen;
  Progress progress({.mode = ProgressMode::plain, .plain_interval = 0}, screen.sink());
  progress.update(at(0, 1), 1);
  progress.update(at(0, 2), 2);
  progress.check({.epoch = 1, .epochs = 4, .value = 0.5}, 3);
  progress.finish();
  for (const std::string& text : screen.writes) {
    EXPECT_THAT(text, Not(HasSubstr("\x1b")));
    EXPECT_THAT(text, Not(HasSubstr("\r")));
    EXPECT_THAT(text, EndsWith("\n"));
  }
}

TEST(Progress, ASinkIsRequired) {
  EXPECT_THROW(Progress({}, nullptr), std::invalid_argument);
  EXPECT_THROW(Progress({.bar_interval = -1}, [](std::string_view) {}), std::invalid_argument);
}

}  // namespace
}  // namespace ballast
