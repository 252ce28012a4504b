#include <ballast/train/lr_find.h>

#include <gtest/gtest.h>

#include <ballast/train/run_options.h>
#include <ballast/train/test_photos.h>

namespace ballast {
namespace {

RunOptions plain_sgd(const TestPhotos& photos) {
  RunOptions o = small_run(photos);
  o.optim.momentum = 0;
  o.optim.nesterov = false;
  return o;
}

TEST(LrFind, LossFallsAndThenExplodes) {
  const TestPhotos photos;
  RunEvents events;
  const LrFindResult r = find_lr(plain_sgd(photos), {.from = 1e-4, .to = 1e4, .steps = 100, .smoothing = 0.9}, events);
  ASSERT_GE(r.range.points().size(), 20u);
  EXPECT_TRUE(r.range.diverged());
  ASSERT_TRUE(r.range.steepest());
  ASSERT_TRUE(r.range.min_tenth());
  // The suggestion lies below the rate that broke it.
  EXPECT_LT(*r.range.steepest(), r.range.points().back().lr);
  EXPECT_GT(*r.range.steepest(), 1e-4);
  EXPECT_EQ(r.model, "mlp:1x16");
  EXPECT_EQ(r.batch_size, 16);
}

TEST(LrFind, RepeatsItself) {
  const TestPhotos photos;
  RunEvents events;
  const LrRangeOptions range{.from = 1e-4, .to = 1, .steps = 25};
  const LrFindResult a = find_lr(plain_sgd(photos), range, events), b = find_lr(plain_sgd(photos), range, events);
  ASSERT_EQ(a.range.points().size(), b.range.points().size());
  for (size_t i = 0; i < a.range.points().size(); ++i) {
    EXPECT_EQ(a.range.points()[i].loss, b.range.points()[i].loss);
  }
}

TEST(LrFind, LeavesTheScheduleAlone) {
  const TestPhotos photos;
  RunEvents events;
  RunOptions warm = plain_sgd(photos);
  warm.schedule.name = Auto<std::string>("one_cycle");
  const LrRangeOptions range{.from = 1e-4, .to = 1, .steps = 25};
  const LrFindResult a = find_lr(plain_sgd(photos), range, events), b = find_lr(warm, range, events);
  EXPECT_EQ(a.range.points().back().loss, b.range.points().back().loss);
}

}  // namespace
}  // namespace ballast
