#include <ballast/augment/mix_samples.h>

#include <cmath>

#include <gtest/gtest.h>

#include <ballast/base/test_message.h>

namespace ballast {
namespace {

constexpr int32_t kH = 20, kW = 26;

/// A picture of one level, with a class mask, an instance mask, boxes and points of its own.
Sample sample(int i, bool ids) {
  Sample s{.image = Image(kH, kW, 3), .name = std::to_string(i) + ".png"};
  Mask heat{Image(kH, kW, 1), Mask::Kind::heat}, classes{Image(kH, kW, 1)};
  Mask instances{Image(kH, kW, 1, DType::u16), Mask::Kind::instance_ids, 65'535};
  for (int32_t y = 0; y < kH; ++y) {
    auto* wide = reinterpret_cast<uint16_t*>(instances.px.view().row(y));
    for (int32_t x = 0; x < kW; ++x) {
      for (int32_t c = 0; c < 3; ++c) s.image.row_u8(y)[3 * x + c] = static_cast<uint8_t>(40 * i + 5 * c + x);
      heat.px.row_u8(y)[x] = static_cast<uint8_t>(50 * i + y);
      classes.px.row_u8(y)[x] = static_cast<uint8_t>(10 + i);
      wide[x] = static_cast<uint16_t>(x < kW / 2 ? 1 : 2);
    }
  }
  reinterpret_cast<uint16_t*>(instances.px.view().row(0))[0] = 65'535;
  s.masks.push_back(std::move(heat));
  if (ids) {
    s.masks.push_back(std::move(classes));
    s.masks.push_back(std::move(instances));
  }
  s.boxes.add(0, 0, kW / 2.0F, kH, i);
  s.boxes.add(kW / 2.0F, 0, kW, kH, 10 + i);
  for (int32_t k = 0; k < 5; ++k) s.points.add(2.5F + 5 * static_cast<float>(k), 10, i);
  return s;
}

std::vector<Sample> samples(int n, bool ids) {
  std::vector<Sample> out;
  for (int i = 0; i < n; ++i) out.push_back(sample(i, ids));
  return out;
}

TEST(MixSamples, MixupIsTheFormulaForPicturesHeatAndWeights) {
  for (const int n : {2, 3, 5}) {
    const auto before = samples(n, false);
    auto after = samples(n, false);
    const auto mixed = mix_samples(after, {.mixup_alpha = 1, .mode = MixMode::elem}, Key(4));
    for (size_t i = 0; i < after.size(); ++i) {
      const MixDraw& d = mixed[i].draw;
      ASSERT_EQ(d.row, static_cast<int64_t>(i));
      ASSERT_NE(d.partner, d.row);
      const auto j = static_cast<size_t>(d.partner);
      const auto want = [&](int a, int b) {
        return static_cast<int>(std::nearbyint(d.lambda * static_cast<float>(a) + (1 - d.lambda) * static_cast<float>(b)));
      };
      for (int32_t y = 0; y < kH; ++y) {
        for (int32_t x = 0; x < 3 * kW; ++x) {
          ASSERT_EQ(after[i].image.row_u8(y)[x], want(before[i].image.row_u8(y)[x], before[j].image.row_u8(y)[x]));
        }
        ASSERT_EQ(after[i].masks[0].px.row_u8(y)[3], want(before[i].masks[0].px.row_u8(y)[3], before[j].masks[0].px.row_u8(y)[3]));
      }
      EXPECT_EQ(after[i].boxes.label, (std::vector<int32_t>{static_cast<int>(i), 10 + static_cast<int>(i),
                                                            static_cast<int>(j), 10 + static_cast<int>(j)}));
      EXPECT_EQ(after[i].boxes.source, (std::vector<int32_t>{0, 1, 2, 3}));
      EXPECT_EQ(mixed[i].box_weight, (std::vector<float>{d.lambda, d.lambda, 1 - d.lambda, 1 - d.lambda}));
      EXPECT_EQ(after[i].points.size(), 10);
      EXPECT_EQ(mixed[i].point_weight.back(), 1 - d.lambda);
    }
  }
}

TEST(MixSamples, CutmixPastesMasksBoxesAndPointsWithTheSameBox) {
  int seen = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const auto before = samples(3, true);
    auto after = samples(3, true);
    const auto mixed = mix_samples(after, {.cutmix_alpha = 1, .mode = MixMode::elem}, Key(seed), {.min_visibility = 0.3});
    for (size_t i = 0; i < 3; ++i) {
      const MixDraw& d = mixed[i].draw;
      const Sample &own = before[i], &other = before[static_cast<size_t>(d.partner)], &got = after[i];
      EXPECT_FLOAT_EQ(d.lambda, 1 - static_cast<float>(d.w * d.h) / (kH * kW));
      for (int32_t y = 0; y < kH; ++y) {
        for (int32_t x = 0; x < kW; ++x) {
          const bool in = x >= d.x && x < d.x + d.w && y >= d.y && y < d.y + d.h;
          const Sample& from = in ? other : own;
          ASSERT_EQ(got.image.row_u8(y)[3 * x + 1], from.image.row_u8(y)[3 * x + 1]);
          ASSERT_EQ(got.masks[0].px.row_u8(y)[x], from.masks[0].px.row_u8(y)[x]);
          ASSERT_EQ(got.masks[1].px.row_u8(y)[x], from.masks[1].px.row_u8(y)[x]);
          const int id = reinterpret_cast<const uint16_t*>(got.masks[2].px.view().row(y))[x];
          const int was = reinterpret_cast<const uint16_t*>(from.masks[2].px.view().row(y))[x];
          ASSERT_EQ(id, in && was != 65'535 ? was + 2 : was) << "the partner's instances are counted on";
        }
      }
      // Boxes: brute force over the pixels of each.
      std::vector<int32_t> labels;
      for (size_t b = 0; b < 2; ++b) {
        double inside = 0;
        for (int32_t x = 0; x < kW / 2; ++x) {
          const int32_t column = x + (b == 0 ? 0 : kW / 2);
          inside += column >= d.x && column < d.x + d.w ? d.h : 0;
        }
        const double all = kW / 2 * kH;
        if (d.lambda == 1 || (inside < all && all - inside >= 0.3 * all)) labels.push_back(own.boxes.label[b]);
      }
      const size_t kept = labels.size();
      for (size_t b = 0; b < 2 && d.lambda < 1; ++b) {
        double columns = 0;
        for (int32_t x = 0; x < kW / 2; ++x) {
          const int32_t column = x + (b == 0 ? 0 : kW / 2);
          columns += column >= d.x && column < d.x + d.w ? 1 : 0;
        }
        if (columns >= 1 && columns * d.h >= 0.3 * kW / 2 * kH) labels.push_back(other.boxes.label[b]);
      }
      EXPECT_EQ(got.boxes.label, labels);
      for (size_t b = kept; b < labels.size(); ++b) {
        ++seen;
        EXPECT_GE(got.boxes.x1[b], static_cast<float>(d.x));
        EXPECT_LE(got.boxes.x2[b], static_cast<float>(d.x + d.w));
        EXPECT_EQ(got.boxes.y1[b], static_cast<float>(d.y));
        EXPECT_EQ(got.boxes.y2[b], static_cast<float>(d.y + d.h));
      }
      for (size_t p = 0; p < got.points.x.size(); ++p) {
        const bool in = got.points.x[p] >= static_cast<float>(d.x) && got.points.x[p] < static_cast<float>(d.x + d.w) &&
                        10 >= d.y && 10 < d.y + d.h;
        EXPECT_EQ(got.points.label[p], in ? other.points.label[0] : own.points.label[0]);
      }
      EXPECT_EQ(got.points.size(), 5) << "both have the same places";
      EXPECT_EQ(mixed[i].box_weight, std::vector<float>(labels.size(), 1.0F));
    }
  }
  EXPECT_GT(seen, 20);
}

TEST(MixSamples, OneSampleAndNoMixingLeaveAllAsItWas) {
  auto one = samples(1, true);
  const auto mixed = mix_samples(one, {.mixup_alpha = 1}, Key(0));
  EXPECT_EQ(mixed[0].draw.lambda, 1);
  EXPECT_TRUE(equal_pixels(one[0].image, sample(0, true).image));
  auto two = samples(2, true);
  EXPECT_EQ(mix_samples(two, {}, Key(0))[1].box_weight, (std::vector<float>{1, 1}));
  EXPECT_TRUE(equal_pixels(two[1].masks[2].px, sample(1, true).masks[2].px));
}

TEST(MixSamples, ErrorsSayWhatIsRequiredAndChangeNothing) {
  auto two = samples(2, true);
  EXPECT_EQ(message_of([&] { mix_samples(two, {.mixup_alpha = 1}, Key(1)); }),
            "[mixup] class masks cannot be blended; use cutmix or heat masks");
  EXPECT_TRUE(equal_pixels(two[0].image, sample(0, true).image));
  two[1].masks.pop_back();
  EXPECT_EQ(message_of([&] { mix_samples(two, {.cutmix_alpha = 1}, Key(1)); }),
            "[mixup] samples must have masks of the same kinds, got others (1.png)");
  two[1] = Sample{.image = Image(kH + 1, kW, 3), .name = "b.png"};
  EXPECT_EQ(message_of([&] { mix_samples(two, {.cutmix_alpha = 1}, Key(1)); }),
            "[mixup] samples must have one size, got 20x26x3 and 21x26x3 (b.png)");
  std::vector<Sample> narrow;
  for (int i = 0; i < 2; ++i) {
    narrow.push_back(Sample{.image = Image(4, 4, 1), .name = "n.png"});
    Mask mask{Image(4, 4, 1), Mask::Kind::instance_ids};
    for (int32_t y = 0; y < 4; ++y) std::fill_n(mask.px.row_u8(y), 4, uint8_t{150});
    narrow.back().masks.push_back(std::move(mask));
  }
  EXPECT_EQ(message_of([&] { mix_samples(narrow, {.cutmix_minmax = std::array<double, 2>{0.5, 0.9}}, Key(1)); }),
            "[cutmix] instance ids must be at most 254, got 300 of two pictures together (n.png)");
}

}  // namespace
}  // namespace ballast
