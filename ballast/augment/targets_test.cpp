#include <ballast/augment/targets.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <ballast/augment/catalog.h>
#include <ballast/augment/pipeline.h>

namespace ballast {
namespace {

/// Calls that move pixels: every geometric operation and crop of the catalog, policies, and chains of them.
const std::vector<std::string> kMoves = {
    "horizontal_flip(1)", "vertical_flip(1)", "transpose", "rotate90", "d4", "rotate(40)", "rotate(90..90, expand=true)",
    "rotate(30, expand=true)", "affine(20, 0.1, 0.8..1.2, 10)", "affine(0, 0, 0.6..0.7, log_scale=true)", "shear_x(0.3)",
    "shear_y(0.3)", "translate_x(20)", "translate_y(fraction=0.2)", "perspective(0.4, p=1)", "elastic(20, 8)",
    "grid_distortion(4, 0.2)", "optical_distortion(-0.2..0.4)", "resize(64)", "resize([70, 150], interpolation=bicubic)",
    "random_resized_crop(80, scale=[0.4, 1])", "random_crop(72, padding=6)", "random_crop(110, pad_if_needed=true)",
    "center_crop(90)", "pad(7)", "pad(min_size=[150, 140], position=bottom_left)", "scale_jitter(100, scale_range=[0.7, 1.5])",
    "random_shortest_size([60, 90])", "five_crop(80, view=bottom_right)",
    "ten_crop([70, 90], view=mirrored_top_right)", "zoom_out([1.2, 2], p=1)", "iou_crop(scale=[0.5, 1])", "safe_crop(96)"};
const std::vector<std::string> kChains = {
    "rrc(90, scale=[0.4, 1]) | hflip | rotate(20) | jitter(0.1, 0.1)",
    "zoom_out([1.2, 1.5], p=1) | iou_crop(scale=[0.5, 1]) | vertical_flip | resize(80)",
    "rotate90 | perspective(0.2, p=1) | brightness(0.9) | affine(10, 0.05, 0.9..1.1) | pad(5)",
    "d4 | elastic(10, 8) | shear_x(0.1) | random_crop(90, pad_if_needed=true)",
    "one_of(rotate(30), transpose | shear_y(0.2)) | translate_x(10)"};

constexpr int32_t kH = 100, kW = 120;


/// A black picture with one white rectangle, its mask, its box, and a point in its middle.
Sample scene(int32_t x, int32_t y, int32_t w, int32_t h) {
  Sample s;
  s.image.reset(kH, kW, 1);
  Mask& mask = s.masks.emplace_back();
  mask.px.reset(kH, kW, 1);
  for (int32_t i = 0; i < kH; ++i) {
    std::memset(s.image.row_u8(i), 0, kW);
    std::memset(mask.px.row_u8(i), 0, kW);
    if (i < y || i >= y + h) continue;
    std::memset(s.image.row_u8(i) + x, 200, static_cast<size_t>(w));
    std::memset(mask.px.row_u8(i) + x, 1, static_cast<size_t>(w));
  }
  s.masks.push_back({mask.px.clone(), Mask::Kind::heat});
  for (int32_t i = 0; i < kH; ++i) {
    for (int32_t j = 0; j < kW; ++j) s.masks[1].px.row_u8(i)[j] = s.image.row_u8(i)[j];
  }
  const auto X = static_cast<float>(x), Y = static_cast<float>(y), W = static_cast<float>(w), H = static_cast<float>(h);
  s.boxes.add(X, Y, X + W, Y + H, 4);
  s.points.add(X + W / 2, Y + H / 2, 1);
  return s;
}

struct Seen {
  double x0 = 1e9, y0 = 1e9, x1 = -1, y1 = -1, cx = 0, cy = 0, sum = 0;
};
Seen look(const Image& image, int32_t threshold) {
  Seen s;
  for (int32_t y = 0; y < image.h(); ++y) {
    for (int32_t x = 0; x < image.w(); ++x) {
      const int32_t v = image.row_u8(y)[x];
      s.cx += v * (x + 0.5);
      s.cy += v * (y + 0.5);
      s.sum += v;
      if (v < threshold) continue;
      s.x0 = std::min(s.x0, 1.0 * x);
      s.y0 = std::min(s.y0, 1.0 * y);
      s.x1 = std::max(s.x1, x + 1.0);
      s.y1 = std::max(s.y1, y + 1.0);
    }
  }
  s.cx /= s.sum;
  s.cy /= s.sum;
  return s;
}

TEST(Targets, ListHoldsEveryOperationThatMovesPixels) {
  for (const AugmentEntry& e : augment_catalog()) {
    if (e.group != AugmentGroup::geometry && e.group != AugmentGroup::crop) continue;
    const bool there = std::any_of(kMoves.begin(), kMoves.end(), [&](const std::string& call) {
      return call.substr(0, call.find('(')) == e.name;
    });
    EXPECT_TRUE(there) << e.name;
  }
}

/// What was painted is where box, mask, heat and point say, in every drawn case where the whole of it is in the result.
TEST(Targets, PaintedRectanglesFollowTheirPixels) {
  std::vector<std::string> calls = kMoves;
  calls.insert(calls.end(), kChains.begin(), kChains.end());
  for (const std::string& call : calls) {
    const Pipeline pipeline = Pipeline::parse(call);
    const bool bends = call.find("elastic") != std::string::npos || call.find("distortion(") != std::string::npos;
    int whole = 0, parts = 0;
    for (uint64_t i = 0; i < 40; ++i) {
      const Key key = Key(11).fold_in(i);
      const auto draw = [&](uint32_t slot, uint64_t n) { return static_cast<int32_t>(slot_below(key.fold_in("scene"), slot, n)); };
      const int32_t w = 12 + draw(0, 12), h = 10 + draw(1, 12);
      Sample s = scene(10 + draw(2, static_cast<uint64_t>(kW - 20 - w)), 10 + draw(3, static_cast<uint64_t>(kH - 20 - h)), w, h);
      pipeline.apply(s, key);
      const std::string where = call + ", key " + std::to_string(i);
      ASSERT_EQ(s.masks[0].px.h(), s.image.h()) << where;
      ASSERT_EQ(s.masks[0].px.w(), s.image.w()) << where;
      EXPECT_TRUE(equal_pixels(s.masks[1].px, s.image) || call.find("jitter") != std::string::npos ||
                  call.find("brightness") != std::string::npos) << where;
      // The mask holds what the picture does, but for pixels on the rectangle's edge.
      int64_t wrong = 0, on = 0;
      for (int32_t y = 0; y < s.image.h(); ++y) {
        for (int32_t x = 0; x < s.image.w(); ++x) {
          const int id = s.masks[0].px.row_u8(y)[x];
          const bool bright = s.masks[1].px.row_u8(y)[x] >= 100;
          EXPECT_TRUE(id == 0 || id == 1 || id == 255) << where;
          on += bright ? 1 : 0;
          wrong += (id == 1) != bright ? 1 : 0;
        }
      }
      // Half of the outline.
      const Seen seen = look(s.masks[1].px, 100);
      EXPECT_LE(static_cast<double>(wrong), on == 0 ? 8 : 4 + (seen.x1 - seen.x0) + (seen.y1 - seen.y0)) << where << ": " << on << " bright";
      if (on == 0) continue;
      if (s.boxes.size() == 0) {
        // iou_crop drops boxes by their centre; others only what is smaller than a pixel.
        if (call.find("iou_crop") == std::string::npos) {
          EXPECT_LE(on, 40) << where;
        }
        continue;
      }
      const auto x1 = s.boxes.x1[0], y1 = s.boxes.y1[0], x2 = s.boxes.x2[0], y2 = s.boxes.y2[0];
      EXPECT_GE(x1, 0) << where;
      EXPECT_GE(y1, 0) << where;
      EXPECT_LE(x2, static_cast<float>(s.image.w())) << where;
      EXPECT_LE(y2, static_cast<float>(s.image.h())) << where;
      // Half a level is half a pixel from an edge that is not turned; a turned corner loses up to a pixel and a half.
      const double slack = bends ? 2.5 : 1.6;
      EXPECT_NEAR(x1, seen.x0, slack) << where;
      EXPECT_NEAR(y1, seen.y0, slack) << where;
      EXPECT_NEAR(x2, seen.x1, slack) << where;
      EXPECT_NEAR(y2, seen.y1, slack) << where;
      ++parts;
      const bool inside = x1 > 2 && y1 > 2 && x2 < static_cast<float>(s.image.w() - 2) && y2 < static_cast<float>(s.image.h() - 2);
      if (!inside || s.points.visible[0] == 0 || s.image.h() < 40) continue;
      // A perspective's middle is not the middle of what it shows.
      const double far = bends ? 1.5 : call.find("perspective") != std::string::npos ? 2 : 0.5;
      EXPECT_NEAR(s.points.x[0], seen.cx, far) << where;
      EXPECT_NEAR(s.points.y[0], seen.cy, far) << where;
      ++whole;
    }
    EXPECT_GE(parts, 10) << call;
    EXPECT_GE(whole, 5) << call;
  }
}

TEST(Targets, FlipByHand) {
  Sample s = scene(10, 20, 30, 40);
  s.points.add(5, 6, 7, 0.5F, 2);
  Pipeline::parse("hflip(1)").apply(s, Key(0), {.points = {.flip_pairs = {{7, 8}}}});
  EXPECT_EQ(s.boxes.x1[0], 80);
  EXPECT_EQ(s.boxes.y1[0], 20);
  EXPECT_EQ(s.boxes.x2[0], 110);
  EXPECT_EQ(s.boxes.y2[0], 60);
  EXPECT_EQ(s.points.x[1], 115);
  EXPECT_EQ(s.points.y[1], 6);
  EXPECT_EQ(s.points.label[1], 8);
  EXPECT_EQ(s.points.label[0], 1);
  EXPECT_NEAR(s.points.angle[1], 3.14159265 - 0.5, 1e-6);
  EXPECT_EQ(s.points.scale[1], 2);
}

TEST(Targets, TurnAndScaleOfAPoint) {
  Sample s = scene(50, 40, 20, 20);
  // A quarter turn counter-clockwise: (x, y) -> (y, W - x), the x axis becomes the negative y axis.
  Pipeline::parse("rotate90(k=1) | resize([60, 50])").apply(s, Key(0));
  EXPECT_NEAR(s.points.x[0], 50 * 0.5, 1e-4);
  EXPECT_NEAR(s.points.y[0], (120 - 60) * 0.5, 1e-4);
  EXPECT_NEAR(s.points.angle[0], -3.14159265 / 2, 1e-6);
  EXPECT_NEAR(s.points.scale[0], 0.5, 1e-6);
}

TEST(Targets, BoundsOfBoxesAreInclusive) {
  // The crop takes x in [30, 90): of a box 20 wide at x = 20 half is left.
  const auto left = [](const BoxOptions& o, float w, float h) {
    Sample s = scene(5, 5, 5, 5);
    s.boxes = {};
    s.boxes.add(30 - w / 2, 40, 30 + w / 2, 40 + h);
    Pipeline::parse("center_crop([100, 60])").apply(s, Key(0), {.boxes = o});
    return s.boxes.size();
  };
  EXPECT_EQ(left({.min_visibility = 0.5}, 20, 10), 1);
  EXPECT_EQ(left({.min_visibility = 0.51}, 20, 10), 0);
  EXPECT_EQ(left({.min_side = 10}, 20, 10), 1);
  EXPECT_EQ(left({.min_side = 10.1}, 20, 20), 0);
  EXPECT_EQ(left({.min_area = 100}, 20, 10), 1);
  EXPECT_EQ(left({.min_area = 101}, 20, 10), 0);
  EXPECT_EQ(left({.max_aspect = 2}, 20, 20), 1);
  EXPECT_EQ(left({.max_aspect = 1.9}, 20, 20), 0);
  EXPECT_EQ(left({}, 1, 10), 0);
  EXPECT_EQ(left({.min_side = 0, .min_area = 0}, 1, 10), 1);
}

TEST(Targets, VisibilityOfTheOriginalOrOfEachStep) {
  // Two crops keep 0.6 of the box each time, 0.4 at the end.
  const auto left = [](BoxOptions::VisibilityOf of) {
    Sample s = scene(5, 5, 5, 5);
    s.boxes = {};
    s.boxes.add(0, 40, 100, 50);
    Pipeline::parse("center_crop([100, 40]) | center_crop([100, 24])")
        .apply(s, Key(0), {.boxes = {.min_visibility = 0.35, .visibility_of = of}});
    return s.boxes.size();
  };
  EXPECT_EQ(left(BoxOptions::VisibilityOf::step), 1);
  EXPECT_EQ(left(BoxOptions::VisibilityOf::original), 0);
}

TEST(Targets, WithoutClipBoxesKeepWhatLiesOutside) {
  Sample s = scene(5, 5, 5, 5);
  s.boxes = {};
  s.boxes.add(20, 40, 40, 60);
  Pipeline::parse("center_crop([100, 60])").apply(s, Key(0), {.boxes = {.clip = false}});
  EXPECT_EQ(s.boxes.x1[0], -10);
  EXPECT_EQ(s.boxes.x2[0], 10);
}

TEST(Targets, WhatACropCutOffNeverComesBack) {
  Sample s = scene(0, 40, 60, 20);
  Pipeline::parse("center_crop([100, 60]) | pad([30, 0])").apply(s, Key(0));
  EXPECT_EQ(s.boxes.x1[0], 30);
  EXPECT_EQ(s.boxes.x2[0], 60);
  EXPECT_EQ(s.masks[0].px.row_u8(50)[29], 255);
  EXPECT_EQ(s.masks[0].px.row_u8(50)[30], 1);
}

TEST(Targets, PointsOutside) {
  const auto after = [](PointOptions::Outside outside) {
    Sample s = scene(0, 40, 20, 20);
    Pipeline::parse("center_crop([100, 60])").apply(s, Key(0), {.points = {.outside = outside}});
    return s.points;
  };
  const Keypoints hidden = after(PointOptions::Outside::hide), kept = after(PointOptions::Outside::keep);
  ASSERT_EQ(hidden.size(), 1);
  EXPECT_EQ(hidden.visible[0], 0);
  EXPECT_EQ(hidden.x[0], -20);
  EXPECT_EQ(kept.visible[0], 1);
  EXPECT_EQ(after(PointOptions::Outside::drop).size(), 0);
}

TEST(Targets, InstancesGoWithTheirBoxes) {
  Sample s = scene(0, 40, 20, 20);
  s.boxes = {};
  s.boxes.add(0, 0, 33, 10);
  s.boxes.add(50, 50, 60, 60);
  Mask& ids = s.masks[0];
  ids.kind = Mask::Kind::instance_ids;
  ids.ignore = 60'000;
  ids.px.reset(kH, kW, 1, DType::u16);
  for (int32_t y = 0; y < kH; ++y) {
    for (int32_t x = 0; x < kW; ++x) reinterpret_cast<uint16_t*>(ids.px.view().row(y))[x] = x < 33 ? 1 : 2;
  }
  // A tenth of the first box is left.
  Pipeline::parse("center_crop([100, 60]) | pad(1)").apply(s, Key(0), {.boxes = {.min_visibility = 0.2}});
  ASSERT_EQ(s.boxes.size(), 1);
  EXPECT_EQ(s.boxes.source[0], 1);
  const auto* row = reinterpret_cast<const uint16_t*>(ids.px.view().row(50));
  EXPECT_EQ(row[0], 60'000);
  EXPECT_EQ(row[1], 0);
  EXPECT_EQ(row[4], 2);
}

TEST(Targets, ErasingPaintsMasksOnlyWithFillMask) {
  for (const bool fill : {false, true}) {
    Sample s = scene(0, 0, 120, 100);
    Pipeline::parse(fill ? "cutout(30, fill_mask=9) | hflip(1)" : "cutout(30) | hflip(1)").apply(s, Key(3));
    int64_t painted = 0, dark = 0;
    for (int32_t y = 0; y < kH; ++y) {
      for (int32_t x = 0; x < kW; ++x) {
        painted += s.masks[0].px.row_u8(y)[x] == 9 ? 1 : 0;
        const bool erased = s.image.row_u8(y)[x] == 0;
        dark += erased ? 1 : 0;
        if (fill) {
          EXPECT_EQ(s.masks[0].px.row_u8(y)[x] == 9, erased);
        }
      }
    }
    EXPECT_GT(dark, 0);
    EXPECT_EQ(painted, fill ? dark : 0);
  }
}

TEST(Targets, IouCropKeepsABoxAndSafeCropAll) {
  const Pipeline iou = Pipeline::parse("hflip | iou_crop(scale=[0.3, 0.6], options=[0.1])");
  const Pipeline safe = Pipeline::parse("rotate90 | safe_crop(64)");
  int cropped = 0, lost = 0;
  for (uint64_t i = 0; i < 200; ++i) {
    Sample s = scene(15, 20, 30, 30);
    s.boxes.add(80, 60, 110, 95, 5);
    Sample t = scene(15, 20, 30, 30);
    t.boxes.add(80, 60, 110, 95, 5);
    iou.apply(s, Key(i));
    EXPECT_GE(s.boxes.size(), 1);
    cropped += s.image.w() < kW ? 1 : 0;
    lost += s.boxes.size() == 1 ? 1 : 0;
    safe.apply(t, Key(i), {.boxes = {.min_visibility = 1}});
    EXPECT_EQ(t.boxes.size(), 2) << i;
    EXPECT_EQ(t.image.h(), 64);
  }
  EXPECT_GT(cropped, 100);
  EXPECT_GT(lost, 50);
}

TEST(Targets, RequireBoxDrawsAgain) {
  const Pipeline p = Pipeline::parse("random_crop(40)");
  int64_t without = 0;
  for (uint64_t i = 0; i < 100; ++i) {
    Sample a = scene(5, 5, 10, 10), b = scene(5, 5, 10, 10);
    p.apply(a, Key(i));
    without += a.boxes.size();
    p.apply(b, Key(i), {.boxes = {.require_box = true}});
    EXPECT_EQ(b.boxes.size(), 1);
    EXPECT_TRUE(b.image.w() == 40 || b.image.w() == kW);
  }
  EXPECT_LT(without, 60);
}

TEST(Targets, SequentialIdsAreNearestStepByStep) {
  Sample a = scene(30, 30, 40, 30), b = scene(30, 30, 40, 30);
  Pipeline p = Pipeline::parse("rotate(30..30) | rotate(-30..-30)");
  p.apply(a, Key(0));
  p.set_semantics(Semantics::sequential);
  p.apply(b, Key(0));
  // One map: the two turns cancel. Step by step the outline frays.
  EXPECT_EQ(a.masks[0].px.row_u8(30)[30], 1);
  int64_t frayed = 0;
  for (int32_t y = 30; y < 60; ++y) {
    for (int32_t x = 30; x < 70; ++x) {
      EXPECT_EQ(a.masks[0].px.row_u8(y)[x], 1);
      frayed += b.masks[0].px.row_u8(y)[x] != 1 ? 1 : 0;
    }
  }
  EXPECT_GT(frayed, 0);
  EXPECT_LT(frayed, 80);
}

std::string message(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "no error";
}

TEST(Targets, Errors) {
  const Pipeline p = Pipeline::parse("hflip");
  Sample s = scene(0, 0, 5, 5);
  s.name = "a.png";
  s.masks[0].px.reset(100, 80, 1);
  EXPECT_EQ(message([&] { p.apply(s, Key(0)); }), "[sample] mask 0 is 100x80, image 100x120 (a.png)");
  s.masks.clear();
  s.boxes.add(130, 10, 150, 20);
  EXPECT_EQ(message([&] { p.apply(s, Key(0), {.boxes = {.invalid = BoxOptions::Invalid::error}}); }),
            "[sample] box 1 lies outside of the 100x120 image, got [130, 10, 150, 20] (a.png)");
  s.boxes.x1[1] = 151;
  EXPECT_EQ(message([&] { p.apply(s, Key(0), {.boxes = {.invalid = BoxOptions::Invalid::error}}); }),
            "[sample] box 1 must be finite with x1 < x2, y1 < y2 in the 100x120 image, got [151, 10, 150, 20] (a.png)");
  p.apply(s, Key(0));
  EXPECT_EQ(s.boxes.size(), 1);
  EXPECT_EQ(message([&] { p.apply(s, Key(0), {.boxes = {.min_visibility = 2}}); }),
            "[boxes] min_visibility must be in [0, 1], got 2");
  s.boxes = {};
  EXPECT_EQ(message([&] { Pipeline::parse("iou_crop").apply(s, Key(0)); }), "[iou_crop] needs boxes, the source gives none");
  s.boxes.x1.push_back(1);
  EXPECT_EQ(message([&] { p.apply(s, Key(0)); }), "[sample] the lists of boxes must be equally long (a.png)");
}

TEST(Boxes, FormatsThereAndBack) {
  const std::vector<float> xyxy = {10, 20, 30, 60};
  const std::vector<int32_t> label = {2};
  const Boxes b = Boxes::from(xyxy, label);
  EXPECT_EQ(b.to(BoxFormat::xywh), (std::vector<float>{10, 20, 20, 40}));
  EXPECT_EQ(b.to(BoxFormat::cxcywh), (std::vector<float>{20, 40, 20, 40}));
  EXPECT_EQ(b.to(BoxFormat::voc), (std::vector<float>{11, 21, 30, 60}));
  EXPECT_EQ(b.to(BoxFormat::yolo, 80, 40), (std::vector<float>{0.5, 0.5, 0.5, 0.5}));
  for (const BoxFormat f : {BoxFormat::xyxy, BoxFormat::xywh, BoxFormat::cxcywh, BoxFormat::yolo, BoxFormat::voc}) {
    EXPECT_EQ(Boxes::from(b.to(f, 80, 40), label, f, 80, 40).to(BoxFormat::xyxy), xyxy);
  }
  EXPECT_EQ(message([] { parse_box_format("xxyy"); }), "[boxes] format must be one of xyxy, xywh, cxcywh, yolo, voc, got \"xxyy\"");
}

TEST(Targets, BoxesAndPointsGoWhereAlbumentationsTakesThem) {
  std::ifstream file(BALLAST_TEST_SOURCE_DIR "/tests/golden/targets.json");
  const auto golden = nlohmann::json::parse(file);
  ASSERT_GE(golden["rows"].size(), 18U);
  for (const auto& row : golden["rows"]) {
    const std::string call = row[0];
    SCOPED_TRACE(call + " " + row[3].dump());
    Sample s{.image = Image(row[1].get<int32_t>(), row[2].get<int32_t>(), 1), .masks = {}};
    TargetOptions options;
    options.boxes.min_area = row[3].value("min_area", 1.0);
    options.boxes.min_visibility = row[3].value("min_visibility", 0.0);
    for (const auto& b : row[4]) s.boxes.add(b[0], b[1], b[2], b[3], b[4]);
    for (size_t i = 0; !row[6].is_null() && i < row[6].size(); ++i) {
      const auto& p = row[6][i];
      s.points.add(p[0], p[1], static_cast<int32_t>(i), p[2], p[3]);
    }
    Pipeline::parse(call).apply(s, Key(1), options);
    EXPECT_EQ(s.image.h(), row[8].get<int32_t>());
    EXPECT_EQ(s.image.w(), row[9].get<int32_t>());
    ASSERT_EQ(static_cast<size_t>(s.boxes.size()), row[5].size());
    for (size_t i = 0; i < row[5].size(); ++i) {
      const auto& b = row[5][i];
      EXPECT_NEAR(s.boxes.x1[i], b[0].get<float>(), 1e-3) << i;
      EXPECT_NEAR(s.boxes.y1[i], b[1].get<float>(), 1e-3) << i;
      EXPECT_NEAR(s.boxes.x2[i], b[2].get<float>(), 1e-3) << i;
      EXPECT_NEAR(s.boxes.y2[i], b[3].get<float>(), 1e-3) << i;
      EXPECT_EQ(s.boxes.label[i], b[4].get<int32_t>()) << i;
    }
    if (row[7].is_null()) continue;
    ASSERT_EQ(static_cast<size_t>(s.points.size()), row[7].size());
    for (size_t i = 0; i < row[7].size(); ++i) {
      const auto& p = row[7][i];
      EXPECT_NEAR(s.points.x[i], p[0].get<float>(), 1e-3) << i;
      EXPECT_NEAR(s.points.y[i], p[1].get<float>(), 1e-3) << i;
      EXPECT_NEAR(s.points.scale[i], p[3].get<float>(), 1e-3) << i;
      if (call == "transpose") continue;  // its angles there are of no convention
      EXPECT_NEAR(std::cos(s.points.angle[i]), std::cos(p[2].get<float>()), 1e-3) << i;
      EXPECT_NEAR(std::sin(s.points.angle[i]), std::sin(p[2].get<float>()), 1e-3) << i;
    }
  }
}

}  // namespace
}  // namespace ballast
