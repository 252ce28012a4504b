#include <ballast/augment/crop_views.h>

#include <gtest/gtest.h>

#include <ballast/base/test_message.h>
#include <ballast/image/image.h>

namespace ballast {
namespace {

Image picture(int32_t h, int32_t w) {
  Image image(h, w, 3);
  for (int32_t y = 0; y < h; ++y) {
    for (int32_t x = 0; x < 3 * w; ++x) image.row_u8(y)[x] = static_cast<uint8_t>(x * 7 + y * 13 + x * y / 5);
  }
  return image;
}

TEST(CropViews, AreAPipelineForEachView) {
  Pipeline five = Pipeline::parse("resize([12, 20]) | five_crop([8, 9])");
  five.set_normalize(imagenet_normalize());
  EXPECT_EQ(five.output_size(), (std::pair<int32_t, int32_t>{8, 9}));
  const auto views = crop_views(five);
  ASSERT_EQ(views.size(), 5U);
  EXPECT_EQ(views[1].text(), "resize([12, 20]) | five_crop([8, 9], view=top_right)");
  EXPECT_EQ(views[1].normalize(), imagenet_normalize());
  EXPECT_EQ(crop_views(views[1]).size(), 1U);
  EXPECT_EQ(crop_views(Pipeline::parse("center_crop(8)")).size(), 1U);
}

TEST(CropViews, TakeThePlaceOfTheCenterCrop) {
  const Pipeline eval = Pipeline::parse("resize(12) | center_crop([8, 9]) | normalize(imagenet)");
  const Pipeline ten = with_crops(eval, "ten_crop");
  EXPECT_EQ(ten.text(), "resize(12) | ten_crop([8, 9]) | normalize(imagenet)");
  EXPECT_EQ(with_crops(ten, "five_crop").text(), "resize(12) | five_crop([8, 9]) | normalize(imagenet)");
  EXPECT_EQ(message_of([] { with_crops(Pipeline::parse("resize([28, 28])"), "five_crop"); }),
            "[five_crop] needs a center_crop, whose place it takes, got \"resize([28, 28])\"");
}

TEST(CropViews, MiddleIsCenterCropsAndMirrorsComeFirst) {
  // An odd rest: the middle of the mirrored picture is not the mirrored middle.
  const auto views = crop_views(Pipeline::parse("ten_crop([8, 9])"));
  ASSERT_EQ(views.size(), 10U);
  const Image image = picture(12, 20);
  const auto same = [&](const Pipeline& a, const std::string& b) {
    return equal_pixels(a.preview(image, Key(0)), Pipeline::parse(b).preview(image, Key(0)));
  };
  EXPECT_TRUE(same(views[4], "center_crop([8, 9])"));
  EXPECT_TRUE(same(views[9], "hflip(1) | center_crop([8, 9])"));
  EXPECT_FALSE(same(views[9], "center_crop([8, 9]) | hflip(1)"));
  EXPECT_TRUE(same(views[5], "hflip(1) | five_crop([8, 9], view=top_left)"));
  EXPECT_TRUE(same(crop_views(Pipeline::parse("five_crop([12, 20])"))[3], ""));
}

TEST(CropViews, ErrorsSayWhatIsRequired) {
  const Image image = picture(12, 20);
  EXPECT_EQ(message_of([&] { Pipeline::parse("five_crop(8)").preview(image, Key(0)); }),
            "[five_crop] makes 5 pictures, for evaluation only; view=top_left is one of them");
  EXPECT_EQ(message_of([&] { crop_views(Pipeline::parse("ten_crop(16)"))[0].preview(image, Key(0)); }),
            "[ten_crop] 16x16 does not fit the 12x20 image; set a smaller size, or resize first");
  EXPECT_EQ(message_of([] { Pipeline::parse("maybe(0.5, five_crop(8))"); }),
            "[pipeline] column 12: five_crop must not stand inside of another step");
  EXPECT_EQ(message_of([] { Pipeline::parse("five_crop(9) | ten_crop(8)"); }),
            "[pipeline] column 16: only one step may make several pictures");
  EXPECT_EQ(message_of([] { Pipeline::parse("five_crop(9, view=top)"); }),
            "[pipeline] column 19: five_crop: view must be one of all, top_left, top_right, bottom_left, bottom_right, center, "
            "got \"top\"");
}

}  // namespace
}  // namespace ballast
