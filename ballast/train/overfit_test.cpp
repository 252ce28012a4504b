#include <ballast/train/overfit.h>

#include <cmath>

#include <gtest/gtest.h>

#include <ballast/train/run_options.h>
#include <ballast/train/test_photos.h>

namespace ballast {
namespace {

TEST(Overfit, AModelThatLearnsPasses) {
  const TestPhotos photos;
  RunEvents events;
  RunOptions o = small_run(photos);
  o.model.drop = "0.5";  // left out: with it the loss would stay high
  o.loss.label_smoothing = Auto<double>(0.2);
  const OverfitResult r = overfit(o, 2, events);
  EXPECT_TRUE(r.passed) << r.loss;
  EXPECT_EQ(r.batches, 2);
  EXPECT_EQ(r.samples, 32);
  EXPECT_DOUBLE_EQ(r.goal, 0.01 * std::log(3));
  EXPECT_LE(r.loss, r.goal);
  EXPECT_EQ(r.accuracy, 1);
  EXPECT_TRUE(r.suspects.empty());
}

TEST(Overfit, NamesEqualPicturesWithDifferentLabels) {
  const TestPhotos photos;
  photos.copy("cat/000.png", "dog/extra.png");
  RunEvents events;
  RunOptions o = small_run(photos);
  o.train.batch_size = 1000;  // all training pictures
  o.data.split_val = o.data.split_test = 0;
  const OverfitResult r = overfit(o, 1, events, 60);
  EXPECT_FALSE(r.passed);
  ASSERT_FALSE(r.suspects.empty());
  EXPECT_NE(r.suspects[0].find("equal pictures have different labels"), std::string::npos) << r.suspects[0];
  EXPECT_NE(r.suspects[0].find("extra.png"), std::string::npos);
}

TEST(Overfit, NamesFrozenParameters) {
  const TestPhotos photos;
  RunEvents events;
  RunOptions o = small_run(photos);
  o.train.freeze = {"*weight"};
  const OverfitResult r = overfit(o, 1, events, 40);
  EXPECT_FALSE(r.passed);
  ASSERT_FALSE(r.suspects.empty());
  EXPECT_NE(r.suspects[0].find("--freeze"), std::string::npos);
}

TEST(Overfit, NamesARateThatIsTooSmall) {
  const TestPhotos photos;
  RunEvents events;
  RunOptions o = small_run(photos);
  o.optim.lr = Auto<double>(1e-9);
  const OverfitResult r = overfit(o, 1, events, 40);
  EXPECT_FALSE(r.passed);
  ASSERT_FALSE(r.suspects.empty());
  EXPECT_NE(r.suspects.back().find("did not move"), std::string::npos);
}

TEST(Overfit, Errors) {
  RunEvents events;
  EXPECT_THROW(overfit(RunOptions(), 0, events), std::invalid_argument);
}

}  // namespace
}  // namespace ballast
