#include <ballast/train/defaults.h>

#include <stdexcept>

#include <gtest/gtest.h>

namespace ballast {
namespace {

TEST(Defaults, FashionMnistTrainsTheSmallModelForFifteenEpochs) {
  const Defaults d = choose_defaults({.train_images = 57'000, .classes = 10, .channels = 1, .height = 28, .width = 28});
  EXPECT_EQ(d.model, "resnet8_wide");
  EXPECT_EQ(d.height, 28);
  EXPECT_EQ(d.epochs, 15);
  EXPECT_EQ(d.schedule, "one_cycle");
  EXPECT_DOUBLE_EQ(d.lr, 0.2);
  EXPECT_DOUBLE_EQ(d.label_smoothing, 0.1);
}

TEST(Defaults, PhotosTrainAResNet18AtReducedSize) {
  const Defaults d = choose_defaults({.train_images = 3068, .classes = 10, .height = 533, .width = 400});
  EXPECT_EQ(d.model, "resnet18");
  EXPECT_EQ(d.height, 128);
  EXPECT_EQ(d.width, 128);
}

TEST(Defaults, EpochsFallWithTheWorkAndStayInTheirBounds) {
  int64_t last = 1000;
  for (const int64_t n : {100, 1000, 10'000, 100'000, 1'000'000, 100'000'000}) {
    const int64_t epochs = choose_defaults({.train_images = n, .classes = 10, .height = 200, .width = 200}).epochs;
    EXPECT_LE(epochs, last);
    EXPECT_GE(epochs, 5);
    EXPECT_LE(epochs, 100);
    last = epochs;
  }
  EXPECT_EQ(last, 5);
}

TEST(Defaults, SmallPicturesAreNeverEnlarged) {
  for (int64_t side = 1; side <= 200; ++side) {
    const Defaults d = choose_defaults({.train_images = 1000, .classes = 2, .height = side, .width = side + 10});
    EXPECT_LE(d.height, side);
    EXPECT_GE(d.height, 1);
  }
}

TEST(Defaults, WhatIsFixedStays) {
  const DataFacts facts{.train_images = 50'000, .classes = 10, .height = 32, .width = 32};
  const Defaults d = choose_defaults(facts, {.model = "resnet20", .image_size = 24, .batch_size = 256});
  EXPECT_EQ(d.model, "resnet20");
  EXPECT_EQ(d.height, 24);
  EXPECT_DOUBLE_EQ(d.lr, 0.4);
  const Defaults adamw = choose_defaults(facts, {.model = "vit_tiny", .optimizer = "adamw"});
  EXPECT_EQ(adamw.schedule, "cosine");
  EXPECT_DOUBLE_EQ(adamw.lr, 1e-3);
  EXPECT_DOUBLE_EQ(adamw.weight_decay, 0.05);
  EXPECT_DOUBLE_EQ(adamw.warmup_share, 0.05);
  EXPECT_DOUBLE_EQ(choose_defaults(facts, {.schedule = "cosine"}).lr, 0.1);
}

TEST(Defaults, ErrorsNameTheValue) {
  auto message = [](const DataFacts& facts) -> std::string {
    try {
      choose_defaults(facts);
      return "";
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
  };
  EXPECT_EQ(message({.train_images = 0, .classes = 10, .height = 8, .width = 8}), "[defaults] train_images must be at least 1, got 0");
  EXPECT_EQ(message({.train_images = 9, .classes = 1, .height = 8, .width = 8}), "[defaults] classes must be at least 2, got 1");
  EXPECT_EQ(message({.train_images = 9, .classes = 2, .height = 0, .width = 8}), "[defaults] height and width must be at least 1, got 0 and 8");
}

}  // namespace
}  // namespace ballast
