#include <gtest/gtest.h>

#include <cmath>

#include <ballast/augment/catalog.h>
#include <ballast/augment/pipeline.h>
#include <ballast/augment/presets.h>
#include <ballast/image/decode.h>
#include <ballast/image/encode.h>
#include <ballast/image/resize.h>

namespace ballast {
namespace {

Image picture(int32_t h, int32_t w, int32_t c) {
  Image image(h, w, c);
  for (int32_t y = 0; y < h; ++y) {
    for (int32_t x = 0; x < w * c; ++x) image.row_u8(y)[x] = static_cast<uint8_t>(x * 7 + y * 13 + x * y / 5);
  }
  return image;
}

std::string error_of(std::string_view text) {
  try {
    Pipeline::parse(text);
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "accepted";
}

TEST(PipelineText, ParseOfTextIsTheIdentity) {
  for (const char* text :
       {"", "horizontal_flip", "horizontal_flip(p=0.25)", "random_crop(32, padding=4, padding_mode=reflect)",
        "random_resized_crop([224, 192], scale=[0.5, 1], interpolation=random) | horizontal_flip | normalize(imagenet)",
        "resize(256, mode=long) | center_crop([224, 200]) | normalize([0.5], [0.25])",
        "random_crop(28, padding=[1, 2, 3, 4], fill=[1, 2, 3]) | normalize(dataset)",
        "resize(40, max_size=50, interpolation=bicubic, antialias=false) | normalize(none)"}) {
    EXPECT_EQ(Pipeline::parse(text).text(), text);
  }
  EXPECT_EQ(Pipeline::parse(" rrc( 224 ;scale=10%..1)|hflip ").text(),
            "random_resized_crop(224, scale=[0.1, 1]) | horizontal_flip");
}

TEST(PipelineText, ErrorsNameTheColumnAndTheNearestName) {
  EXPECT_EQ(error_of("random_crop(32) | hfilp"),
            "[pipeline] column 19: \"hfilp\" is not an operation, did you mean \"hflip\"?");
  EXPECT_EQ(error_of("random_crop(32, paddin=4)"),
            "[pipeline] column 17: random_crop has no option \"paddin\", did you mean \"padding\"?");
  EXPECT_EQ(error_of("hflip(0.5, 1)"), "[pipeline] column 12: hflip takes at most 1 positional values (p), got 2");
  EXPECT_EQ(error_of("hflip(1.5)"), "[pipeline] column 7: hflip: p must be in [0, 1], got 1.5");
  EXPECT_EQ(error_of("random_crop"), "[pipeline] column 1: random_crop needs a size");
  EXPECT_EQ(error_of("hflip | | hflip"), "[pipeline] column 9: expected the name of an operation, got \"|\"");
  EXPECT_EQ(error_of("hflip("), "[pipeline] column 7: expected a value, got the end");
  EXPECT_EQ(error_of("random_crop(32, padding_mode=refect)"),
            "[pipeline] column 30: random_crop: padding_mode must be one of constant, edge, reflect, symmetric, wrap, "
            "got \"refect\", did you mean \"reflect\"?");
  EXPECT_EQ(error_of("normalize(imagenet) | hflip"),
            "[pipeline] column 23: normalize must be the last step, got \"hflip\" behind it");
  EXPECT_EQ(error_of("resize(224, max_size=200)"), "[pipeline] column 1: [resize] max_size must be larger than size, got 200 <= 224");
  EXPECT_EQ(error_of("random_crop(size=32, 4)"), "[pipeline] column 22: positional values must stand before named ones");
  EXPECT_EQ(error_of("random_crop(0)"),
            "[pipeline] column 13: random_crop: size must be a whole number in [1, 65535], got 0");
}

TEST(Pipeline, NormalizesExactlyInBothLayouts) {
  const Image image = picture(5, 7, 3);
  Pipeline p = Pipeline::parse("");
  p.set_normalize({{0.1F, 0.2F, 0.3F}, {0.5F, 0.6F, 0.7F}});
  Scratch scratch;
  for (const Layout layout : {Layout::chw, Layout::hwc}) {
    BatchSlot slot(2, 3, 5, 7, layout);
    p.run_image(image, Key(1), slot, 1, scratch);
    for (int y = 0; y < 5; ++y) {
      for (int x = 0; x < 7; ++x) {
        for (int c = 0; c < 3; ++c) {
          const float mean[] = {0.1F, 0.2F, 0.3F}, deviation[] = {0.5F, 0.6F, 0.7F};
          const auto a = static_cast<float>(1.0 / (255.0 * deviation[c]));
          const auto b = static_cast<float>(-static_cast<double>(mean[c]) / deviation[c]);
          const float want = static_cast<float>(image.row_u8(y)[3 * x + c]) * a + b;
          const int64_t at = layout == Layout::chw ? (c * 5 + y) * 7 + x : (y * 7 + x) * 3 + c;
          ASSERT_EQ(slot.row(1)[at], want);
        }
      }
    }
  }
}

TEST(Pipeline, FlipMirrorsAlwaysNeverOrByItsDraw) {
  const Image image = picture(6, 9, 3);
  const Image flipped = Pipeline::parse("hflip(1)").preview(image, Key(3));
  EXPECT_TRUE(equal_pixels(Pipeline::parse("hflip(0)").preview(image, Key(3)), image));
  for (int y = 0; y < 6; ++y) {
    for (int x = 0; x < 9; ++x) ASSERT_EQ(flipped.row_u8(y)[3 * x + 1], image.row_u8(y)[3 * (8 - x) + 1]);
  }
  EXPECT_TRUE(equal_pixels(Pipeline::parse("hflip(1) | hflip(1)").preview(image, Key(3)), image));
  int count = 0;
  for (uint64_t i = 0; i < 10'000; ++i) {
    const Image one = Pipeline::parse("hflip").preview(image.view().crop(0, 0, 1, 2), Key(3).fold_in(i));
    count += one.row_u8(0)[0] == image.row_u8(0)[3] ? 1 : 0;
  }
  EXPECT_NEAR(count, 5000, 4.892 * 50) << "Bernoulli bound at a false alarm of 1e-6";
}

TEST(Pipeline, RandomCropPadsByEveryModeAndCoversEveryOffsetEvenly) {
  const Image image = picture(8, 8, 1);
  for (const char* mode : {"constant", "edge", "reflect", "symmetric", "wrap"}) {
    const Pipeline p = Pipeline::parse("random_crop(8, padding=3, padding_mode=" + std::string(mode) + ", fill=9)");
    const auto at = [&](int i) {  // index in the padded picture -> source, -1: fill
      i -= 3;
      if (i >= 0 && i < 8) return i;
      switch (mode[0]) {
        case 'c': return -1;
        case 'e': return i < 0 ? 0 : 7;
        case 'r': return i < 0 ? -i : 14 - i;
        case 's': return i < 0 ? -1 - i : 15 - i;
        default: return (i + 8) % 8;
      }
    };
    std::vector<int> seen(49, 0);
    const int draws = 4900;
    for (int n = 0; n < draws; ++n) {
      const Image out = p.preview(image, Key(11).fold_in(static_cast<uint64_t>(n)), 1);
      int matches = 0;
      for (int top = 0; top < 7; ++top) {
        for (int left = 0; left < 7; ++left) {
          bool same = true;
          for (int y = 0; y < 8 && same; ++y) {
            for (int x = 0; x < 8 && same; ++x) {
              const int sy = at(y + top), sx = at(x + left);
              const uint8_t want = sy < 0 || sx < 0 ? uint8_t{9} : image.row_u8(sy)[sx];
              same = out.row_u8(y)[x] == want;
            }
          }
          if (same) {
            ++matches;
            ++seen[static_cast<size_t>(top * 7 + left)];
          }
        }
      }
      ASSERT_EQ(matches, 1) << mode;
    }
    double chi2 = 0;
    for (int count : seen) chi2 += (count - 100.0) * (count - 100.0) / 100.0;
    EXPECT_LT(chi2, 110) << mode;  // 48 degrees of freedom at 1e-6
  }
}

TEST(Pipeline, RandomResizedCropIsACropThenAResize) {
  const Image image = picture(60, 90, 3);
  const Pipeline p = Pipeline::parse("rrc(24)");
  int found = 0;
  for (uint64_t n = 0; n < 5; ++n) {
    const Key key = Key(5).fold_in(n);
    const Image out = p.preview(image, key);
    // The law of the draws, spelled out: area at slot 1, ratio at 2, place at 3 and 4.
    const Key own = key.fold_in(256 * 17);
    for (uint32_t t = 0; t < 10; ++t) {
      const double area = 60.0 * 90.0 * (0.08 + 0.92 * slot_uniform(own, 1, t));
      const double ratio = std::exp(std::log(0.75) + (std::log(4.0 / 3) - std::log(0.75)) * slot_uniform(own, 2, t));
      const int w = static_cast<int>(std::nearbyint(std::sqrt(area * ratio)));
      const int h = static_cast<int>(std::nearbyint(std::sqrt(area / ratio)));
      if (w > 90 || h > 60) continue;
      const auto top = static_cast<int32_t>(slot_below(own, 3, static_cast<uint64_t>(60 - h + 1)));
      const auto left = static_cast<int32_t>(slot_below(own, 4, static_cast<uint64_t>(90 - w + 1)));
      EXPECT_TRUE(equal_pixels(out, resize(image.view().crop(top, left, h, w), 24, 24)));
      ++found;
      break;
    }
  }
  EXPECT_EQ(found, 5);
}

TEST(Pipeline, ResizeThenCenterCropEqualsTheTwoSteps) {
  const Image image = picture(50, 81, 3);
  const Image out = Pipeline::parse("resize(32) | center_crop(28)").preview(image, Key(0));
  const Image full = resize(image, 32, 51);  // 32 * 81 / 50 = 51.84
  EXPECT_TRUE(equal_pixels(out, full.view().crop(2, 12, 28, 28)));  // (51 - 28) / 2 = 11.5 rounds to even
}

TEST(Pipeline, CenterCropPadsSmallPicturesWithBlack) {
  const Image image = picture(3, 4, 1);
  const Image out = Pipeline::parse("center_crop(6)").preview(image, Key(0), 1);
  for (int y = 0; y < 6; ++y) {
    for (int x = 0; x < 6; ++x) {
      const bool inside = y >= 1 && y < 4 && x >= 1 && x < 5;
      ASSERT_EQ(out.row_u8(y)[x], inside ? image.row_u8(y - 1)[x - 1] : 0) << y << " " << x;
    }
  }
}

TEST(Pipeline, PaddingBeforeAResampleIsResampledToo) {
  const Image image = picture(10, 10, 3);
  const Image two = Pipeline::parse("random_crop(14, padding=2, fill=200) | resize([7, 7])").preview(image, Key(0));
  const Image padded = Pipeline::parse("random_crop(14, padding=2, fill=200)").preview(image, Key(0));
  EXPECT_TRUE(equal_pixels(two, resize(padded, 7, 7)));
}

TEST(Pipeline, EncodedAndDecodedSourcesGiveTheSamePixels) {
  const Image image = picture(70, 93, 3);
  for (const auto& file : {encode_png(image), encode_jpeg(image, 85)}) {
    const Image decoded = decode(file);
    for (const char* text : {"rrc(32) | hflip", "random_crop(40) | hflip", "resize(48) | center_crop(40)",
                             "random_crop([80, 100], pad_if_needed=true, padding_mode=reflect) | hflip",
                             "resize(48, interpolation=lanczos) | rrc(20)"}) {
      const Pipeline p = Pipeline::parse(text);
      for (uint64_t n = 0; n < 20; ++n) {
        for (int channels : {1, 3}) {
          const Key key = Key(8).fold_in(n);
          EXPECT_TRUE(equal_pixels(p.preview(file, key, channels), p.preview(decoded, key, channels))) << text;
        }
      }
    }
  }
}

TEST(Pipeline, RowsDependOnTheKeyOnlyAndScratchMayBeShared) {
  const auto file = encode_jpeg(picture(64, 80, 3), 80);
  Pipeline p = Pipeline::parse("rrc(32) | hflip");
  p.set_normalize(imagenet_normalize());
  BatchSlot a(3, 3, 32, 32, Layout::chw), b(3, 3, 32, 32, Layout::chw);
  Scratch one, two;
  for (int i = 0; i < 3; ++i) p.run_encoded(file, Key(4).fold_in(static_cast<uint64_t>(i)), a, i, one);
  for (int i = 2; i >= 0; --i) p.run_encoded(file, Key(4).fold_in(static_cast<uint64_t>(i)), b, i, i == 1 ? two : one);
  for (int64_t j = 0; j < 3 * a.sample_size(); ++j) ASSERT_EQ(a.data[j], b.data[j]);
}

TEST(Pipeline, LeavingAStepOutKeepsTheOtherDraws) {
  const Image image = picture(40, 40, 3);
  for (uint64_t n = 0; n < 10; ++n) {
    const Image with = Pipeline::parse("hflip(1) | random_crop(20)").preview(image, Key(2).fold_in(n));
    const Image flipped = Pipeline::parse("hflip(1)").preview(image, Key(2).fold_in(n));
    EXPECT_TRUE(equal_pixels(with, Pipeline::parse("random_crop(20)").preview(flipped, Key(2).fold_in(n))));
  }
}

TEST(Pipeline, SizeThatDoesNotFitTheBatchIsAnError) {
  Pipeline p = Pipeline::parse("");
  BatchSlot slot(1, 3, 8, 8, Layout::chw);
  Scratch scratch;
  EXPECT_THROW(p.run_image(picture(8, 9, 3), Key(0), slot, 0, scratch), std::invalid_argument);
  EXPECT_THROW(p.run_image(picture(8, 8, 3), Key(0), slot, 1, scratch), std::invalid_argument);
  try {
    Pipeline::parse("random_crop(32)").preview(picture(28, 28, 1), Key(0));
    ADD_FAILURE();
  } catch (const std::invalid_argument& e) {
    EXPECT_STREQ(e.what(),
                 "[random_crop] 32x32 does not fit the padded 28x28 image; set padding, pad_if_needed or a smaller size");
  }
}

TEST(Pipeline, KnowsItsSizeAndWhetherItDraws) {
  using Size = std::pair<int32_t, int32_t>;
  EXPECT_EQ(Pipeline::parse("rrc(24) | hflip").output_size(), (Size{24, 24}));
  EXPECT_EQ(Pipeline::parse("resize(256) | center_crop([224, 200])").output_size(), (Size{224, 200}));
  EXPECT_EQ(Pipeline::parse("resize([30, 40])").output_size(), (Size{30, 40}));
  EXPECT_EQ(Pipeline::parse("center_crop([20, 40]) | resize(10)").output_size(), (Size{10, 20}));
  EXPECT_FALSE(Pipeline::parse("resize(256)").output_size());
  for (const char* fixed : {"resize(256) | center_crop(224)", "hflip(1) | vflip(0)", "equalize(1) | grayscale(1)",
                            "brightness(1.2) | gamma(0.7..0.7)", "rotate(90..90) | posterize(4)"}) {
    EXPECT_EQ(Pipeline::parse(fixed).random_step(), std::nullopt) << fixed;
  }
  EXPECT_EQ(Pipeline::parse("resize(256) | hflip").random_step(), "horizontal_flip");
  for (const char* drawn : {"hflip(0.001)", "random_crop(32)", "rrc(224)", "elastic", "grid_distortion", "gaussian_noise",
                            "erase(1)", "cutout(8)", "brightness(0.9..1.1)", "jitter(0.1, 0, 0, 0)", "rand-m9", "maybe(1, invert(1))"}) {
    EXPECT_TRUE(Pipeline::parse(std::string("resize(256) | ") + drawn).random_step()) << drawn;
  }
}

TEST(Pipeline, OwnNormalizeStepWinsOverTheDatas) {
  Pipeline p = Pipeline::parse("normalize(imagenet)");
  p.set_normalize({{0.5F}, {0.5F}});
  EXPECT_EQ(p.normalize(), imagenet_normalize());
  p = Pipeline::parse("normalize(dataset)");
  p.set_normalize({{0.5F}, {0.5F}});
  EXPECT_EQ(p.normalize(), (Normalize{{0.5F}, {0.5F}}));
  EXPECT_THROW(p.set_normalize({{0.5F}, {0.0F}}), std::invalid_argument);
}

TEST(Presets, FollowSizeAndChannels) {
  EXPECT_EQ(train_preset("light", {32, 32, 3, 32, 32}),
            "random_crop(32, padding=4, padding_mode=reflect) | horizontal_flip");
  EXPECT_EQ(train_preset("light", {28, 28, 1, 28, 28}), "random_crop(28, padding=1, padding_mode=reflect)");
  EXPECT_EQ(train_preset("light", {128, 128, 3, 533, 400}), "random_resized_crop(128) | horizontal_flip");
  EXPECT_EQ(train_preset("standard", {128, 128, 3, 533, 400}),
            "random_resized_crop(128) | horizontal_flip | color_jitter(brightness=0.4, contrast=0.4, saturation=0.4) | "
            "random_erasing(p=0.25)");
  EXPECT_EQ(train_preset("strong", {28, 28, 1, 28, 28, true}),
            "random_crop(28, padding=1, padding_mode=reflect) | horizontal_flip | rand-m9-mstd0.5-inc1 | random_erasing(p=0.25)");
  EXPECT_EQ(train_preset("none", {32, 32, 3, 32, 32}), "");
  EXPECT_EQ(eval_preset({224, 224, 3, 533, 400}), "resize(256) | center_crop(224)");
  EXPECT_EQ(eval_preset({32, 32, 1, 28, 28}), "resize([32, 32])");
  for (auto name : preset_names()) Pipeline::parse(train_preset(name, {32, 48, 3, 28, 28}));
  try {
    train_preset("ligth", {32, 32, 3, 32, 32});
    ADD_FAILURE();
  } catch (const std::invalid_argument& e) {
    EXPECT_STREQ(e.what(), "[presets] the preset must be one of none, light, standard, strong; got \"ligth\"; did you mean \"light\"?");
  }
}

/// A call of an operation with the arguments that it needs.
std::string call_of(const AugmentEntry& e) {
  if (e.name == "timm") return "rand-m9-mstd0.5-inc1";
  std::string arguments;
  if (e.arguments.starts_with("size,") || e.arguments == "size" || e.arguments.starts_with("target_size") || e.name == "random_shortest_size") {
    arguments = "8";
  } else if (e.name == "normalize") {
    arguments = "none";
  } else if (e.name == "one_of" || e.name == "any_order") {
    arguments = "invert(1)";
  } else if (e.name == "some_of" || e.name == "maybe") {
    arguments = "1, invert(1)";
  } else if (e.arguments.starts_with("factor") || e.arguments.starts_with("amount")) {
    arguments = "0.5";
  } else if (e.name == "rotate") {
    arguments = "30";
  } else if (e.name == "posterize" || e.name == "median_blur") {
    arguments = "3";
  }
  return std::string(e.name) + "(" + arguments + ")";
}

TEST(AugmentCatalog, EveryOperationParsesUnderBothNamesAndPrintsItself) {
  uint32_t last = 0;
  for (const AugmentEntry& e : augment_catalog()) {
    SCOPED_TRACE(e.name);
    EXPECT_GT(e.number, last);
    last = e.number;
    const std::string call = call_of(e), text = Pipeline::parse(call).text();
    EXPECT_EQ(Pipeline::parse(text).text(), text);
    if (!e.alias.empty()) {
      EXPECT_EQ(Pipeline::parse(std::string(e.alias) + call.substr(e.name.size())).text(), text);
    }
    // These calls give one value (affine: no motion, random_shortest_size: one size) and p is 1: nothing is left to draw.
    static const std::set<std::string_view> fixed = {"brightness", "contrast", "saturation", "sharpness", "posterize", "median_blur",
                                                     "solarize",   "transpose", "affine",     "translate_x", "translate_y", "random_shortest_size"};
    const std::optional<std::string> drawn = Pipeline::parse(call).random_step();
    EXPECT_EQ(drawn.has_value(), e.random && !fixed.contains(e.name)) << drawn.value_or("nothing drawn");
  }
}

}  // namespace
}  // namespace ballast
