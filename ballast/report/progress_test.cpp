#include <ballast/report/progress.h>

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

ProgressNumbers at(int64_t epoch, int64_t step) {
  return {.epoch = epoch,
          .epochs = 4,
          .step = step,
          .steps = 100,
          .images_per_second = 1840,
          .seconds_left_epoch = 18,
          .seconds_left_run = 242,
          .loss = 0.4123,
          .lr = 0.1};
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
    progress.update(at(1, i), i * 0.01);
  }
  EXPECT_LE(screen.writes.size(), 11u);
  EXPECT_GE(screen.writes.size(), 9u);
}

TEST(Progress, PlainLinesComeAtMostEveryThirtySeconds) {
  Screen screen;
  Progress progress({.mode = ProgressMode::plain}, screen.sink());
  for (int i = 1; i <= 90; ++i) {
    progress.update(at(1, i), i);
  }
  ASSERT_EQ(screen.writes.size(), 2u);
  EXPECT_EQ(screen.writes[0],
            "epoch 1/4  step 31/100  1,840 images/s  epoch 0:18  left 4:02  loss 0.412  lr 0.1\n");
}

TEST(Progress, UnknownNumbersAreDashesAndThePhaseIsNamed) {
  Screen screen;
  Progress progress({.mode = ProgressMode::plain, .plain_interval = 0}, screen.sink());
  progress.update({.epoch = 1, .epochs = 2, .step = 0, .steps = 3, .phase = "val"}, 0);
  EXPECT_EQ(screen.writes.at(0),
            "epoch 1/2 val  step 0/3  - images/s  epoch -  left -  loss -  lr -\n");
  progress.update({.epoch = 1,
                   .epochs = 2,
                   .step = 1,
                   .steps = 3,
                   .images_per_second = 1e9,
                   .seconds_left_run = 4000,
                   .loss = 1},
                  1);
  EXPECT_THAT(screen.writes.at(1), HasSubstr("1,000,000,000 images/s  epoch -  left 1:06:40"));
}

TEST(Progress, ACheckLeavesALineWithItsChange) {
  Screen screen;
  Progress progress({.mode = ProgressMode::bar, .width = 200}, screen.sink());
  progress.update(at(1, 100), 1);
  screen.writes.clear();
  progress.check({.epoch = 1,
                  .epochs = 4,
                  .loss = 0.5,
                  .train_loss = 1,
                  .value = 0.881,
                  .best = 0.869,
                  .improved = true});
  ASSERT_EQ(screen.writes.size(), 2u);
  EXPECT_EQ(screen.writes[0], "\r\x1b[2K");
  EXPECT_EQ(screen.writes[1],
            "epoch 1/4  val  top1 88.1 % (+1.2)  loss 0.5000  train loss 1.0000  best\n");
  progress.update(at(2, 1), 3);
  EXPECT_THAT(screen.writes.back(), EndsWith("val 88.1 % +1.2"));
  progress.check({.epoch = 2, .epochs = 4, .value = 0.87, .best = 0.881, .wait = 1, .patience = 3});
  EXPECT_THAT(screen.writes.back(), HasSubstr("(-1.1)"));
  EXPECT_THAT(screen.writes.back(), HasSubstr("no better for 1 of 3"));
}

TEST(Progress, BarFitsAnyWidthAndLosesTheLeastImportantFirst) {
  bool lr_shown = false;
  for (int64_t width = 40; width <= 200; ++width) {
    Screen screen;
    Progress progress({.mode = ProgressMode::bar, .width = width}, screen.sink());
    progress.update(at(1, 1), 1);
    progress.check({.epoch = 1, .epochs = 4, .value = 0.5});
    progress.update(at(2, 50), 2);
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
    EXPECT_TRUE(!lr || (bar.find("epoch 0:18") != std::string::npos &&
                        bar.find("val") != std::string::npos));
    lr_shown = lr;
  }
  EXPECT_TRUE(lr_shown);
}

TEST(Progress, NoColorMeansNoColour) {
  for (bool color : {false, true}) {
    Screen screen;
    Progress progress({.mode = ProgressMode::bar, .color = color}, screen.sink());
    progress.update(at(1, 50), 1);
    EXPECT_EQ(screen.writes[0].find("\x1b[36m") != std::string::npos, color);
  }
}

TEST(Progress, ALineTakesTheBarAwayAndFinishDoesItOnce) {
  Screen screen;
  Progress progress({.mode = ProgressMode::bar}, screen.sink());
  progress.update(at(1, 1), 1);
  progress.line("warning: a picture could not be read");
  ASSERT_EQ(screen.writes.size(), 3u);
  EXPECT_EQ(screen.writes[2], "warning: a picture could not be read\n");
  progress.finish();
  EXPECT_EQ(screen.writes.size(), 3u);
  progress.update(at(1, 2), 2);
  progress.finish();
  progress.finish();
  EXPECT_EQ(screen.writes.size(), 5u);
}

TEST(Progress, PlainModeWritesNoControlCharacters) {
  Screen screen;
  Progress progress({.mode = ProgressMode::plain, .plain_interval = 0}, screen.sink());
  progress.update(at(1, 1), 1);
  progress.update(at(1, 2), 2);
  progress.check({.epoch = 1, .epochs = 4, .value = 0.5});
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
