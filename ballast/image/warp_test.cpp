#include <ballast/image/warp.h>

#include <gtest/gtest.h>

#include <cmath>

#include <ballast/base/cpu.h>

namespace ballast {
namespace {

Image picture(int32_t h, int32_t w, int32_t c) {
  Image image(h, w, c);
  for (int32_t y = 0; y < h; ++y) {
    for (int32_t x = 0; x < w * c; ++x) image.row_u8(y)[x] = static_cast<uint8_t>(x * 5 + y * 19 + x * y / 7);
  }
  return image;
}

WarpStep make(const Matrix& g, int32_t in_h, int32_t in_w, int32_t out_h, int32_t out_w) {
  WarpStep s;
  s.g = g;
  s.in_h = in_h;
  s.in_w = in_w;
  s.out_h = out_h;
  s.out_w = out_w;
  return s;
}

Matrix turn(double degrees, double w, double h, double scale = 1) {
  const double a = degrees * 3.14159265358979323846 / 180, c = std::cos(a) * scale, s = std::sin(a) * scale;
  return {c, -s, w / 2 - c * w / 2 + s * h / 2, s, c, h / 2 - s * w / 2 - c * h / 2, 0, 0, 1};
}

/// Value at a point of a picture, outside a fill, in double.
double bilinear(const Image& in, double x, double y, int c, double fill) {
  const double xs = x - 0.5, ys = y - 0.5, x0 = std::floor(xs), y0 = std::floor(ys), tx = xs - x0, ty = ys - y0;
  const auto at = [&](double px, double py) {
    if (px < 0 || py < 0 || px >= in.w() || py >= in.h()) return fill;
    return static_cast<double>(in.row_u8(static_cast<int64_t>(py))[static_cast<int64_t>(px) * in.c() + c]);
  };
  return (1 - ty) * ((1 - tx) * at(x0, y0) + tx * at(x0 + 1, y0)) + ty * ((1 - tx) * at(x0, y0 + 1) + tx * at(x0 + 1, y0 + 1));
}

TEST(Warp, EqualsADoubleReferenceWithinALevelOnEveryTarget) {
  for (const std::string& target : simd_targets()) {
    SCOPED_TRACE(target);
    force_simd_target(target);
    for (const int32_t c : {1, 3, 4}) {
      const Image in = picture(33, 45, c);
      for (const Matrix& m : {turn(0, 45, 33), turn(17, 45, 33), turn(-120, 45, 33), turn(40, 45, 33, 0.6),
                              Matrix{1, 0.2, -3, 0.1, 0.9, 2, 0.002, -0.001, 1}}) {
        const Image out = warp(in, m, 30, 41, {.antialias = false}, Border::constant, {9, 90, 200});
        const double fill[4] = {9, 90, 200, 255};
        for (int y = 0; y < 30; ++y) {
          for (int x = 0; x < 41; ++x) {
            const auto p = map_point(m, x + 0.5, y + 0.5);
            for (int j = 0; j < c; ++j) {
              const double want = std::floor(bilinear(in, p[0], p[1], j, fill[j]) + 0.5);
              ASSERT_NEAR(out.row_u8(y)[x * c + j], want, 1.0) << y << " " << x;
            }
          }
        }
      }
    }
  }
  force_simd_target("");
}

TEST(Warp, IsTheSameOnEveryTarget) {
  const Image in = picture(64, 61, 3);
  force_simd_target("scalar");
  const Image want = warp(in, turn(33, 61, 64), 64, 61);
  for (const std::string& target : simd_targets()) {
    force_simd_target(target);
    EXPECT_TRUE(equal_pixels(warp(in, turn(33, 61, 64), 64, 61), want)) << target;
  }
  force_simd_target("");
}

TEST(Warp, NearestTakesThePixelThatHoldsThePoint) {
  const Image in = picture(20, 30, 3);
  const Matrix m = turn(25, 30, 20);
  const Image out = warp(in, m, 20, 30, {.interpolation = Interpolation::nearest}, Border::edge);
  for (int y = 0; y < 20; ++y) {
    for (int x = 0; x < 30; ++x) {
      const auto p = map_point(m, x + 0.5, y + 0.5);
      const int sx = std::clamp(static_cast<int>(std::floor(p[0])), 0, 29), sy = std::clamp(static_cast<int>(std::floor(p[1])), 0, 19);
      ASSERT_EQ(out.row_u8(y)[3 * x + 1], in.row_u8(sy)[3 * sx + 1]);
    }
  }
}

TEST(Warp, WholePixelShiftsAreCopiesForEveryFilter) {
  const Image in = picture(12, 14, 3);
  for (const auto filter : {Interpolation::nearest, Interpolation::bilinear, Interpolation::bicubic}) {
    const Image out = warp(in, {1, 0, 3, 0, 1, 2, 0, 0, 1}, 8, 9, {.interpolation = filter});
    EXPECT_TRUE(equal_pixels(out, in.view().crop(2, 3, 8, 9)));
  }
}

TEST(Warp, TwoByTwoSamplesAreCloserToManyThanOne) {
  // A picture with fine detail, shrunk by 1.7 and turned; truth: 16x16 samples a pixel.
  Image in(120, 120, 1);
  for (int y = 0; y < 120; ++y) {
    for (int x = 0; x < 120; ++x) in.row_u8(y)[x] = static_cast<uint8_t>(128 + 100 * std::sin(x * 1.3) * std::cos(y * 0.9));
  }
  const Matrix m = turn(15, 120, 120, 1.7);
  const Matrix shifted = multiply(m, {1, 0, 30, 0, 1, 30, 0, 0, 1});
  const auto error = [&](bool antialias) {
    const Image out = warp(in, shifted, 60, 60, {.antialias = antialias});
    double sum = 0;
    for (int y = 0; y < 60; ++y) {
      for (int x = 0; x < 60; ++x) {
        double want = 0;
        for (int i = 0; i < 16; ++i) {
          for (int j = 0; j < 16; ++j) {
            const auto p = map_point(shifted, x + (j + 0.5) / 16, y + (i + 0.5) / 16);
            want += bilinear(in, p[0], p[1], 0, 0) / 256;
          }
        }
        sum += (out.row_u8(y)[x] - want) * (out.row_u8(y)[x] - want);
      }
    }
    return sum;
  };
  EXPECT_LT(error(true) * 10, error(false)) << "10 dB";
}

TEST(Warp, WhatAStepCutOffNeverComesBack) {
  const Image in = picture(40, 40, 1);
  // A crop of the middle, then a shift that would reveal what was cut.
  std::vector<WarpStep> steps = {make({1, 0, 10, 0, 1, 10, 0, 0, 1}, 40, 40, 20, 20),
                                 make({1, 0, -5.25, 0, 1, 0, 0, 0, 1}, 20, 20, 20, 20)};
  steps[1].fill = {77, 0, 0};
  Image out;
  WarpScratch scratch;
  warp(in, 0, 0, steps, {}, out, scratch);
  for (int y = 0; y < 20; ++y) {
    for (int x = 0; x < 5; ++x) EXPECT_EQ(out.row_u8(y)[x], 77) << x;
    EXPECT_NE(out.row_u8(y)[7], 77);
  }
  // With a border that repeats, the picture goes on from the crop's own edge.
  steps[1].border = Border::edge;
  warp(in, 0, 0, steps, {}, out, scratch);
  for (int y = 0; y < 20; ++y) EXPECT_EQ(out.row_u8(y)[0], in.row_u8(y + 10)[10]);
}

TEST(Warp, APartOfTheSourceGivesTheSamePixels) {
  const Image in = picture(100, 90, 3);
  const WarpStep crop = make({1, 0, 40, 0, 1, 30, 0, 0, 1}, 100, 90, 24, 24);
  for (const double degrees : {0.0, 20.0, 75.0}) {
    for (const double scale : {0.7, 1.0, 1.6, 2.9}) {
      const std::vector<WarpStep> steps = {make(turn(degrees, 90, 100, scale), 100, 90, 100, 90), crop};
      std::vector<WarpStep> onto = steps;
      Image whole, part;
      WarpScratch scratch;
      warp(in, 0, 0, steps, {}, whole, scratch);
      const WarpSource need = warp_source(steps);
      const Image held = copy_image(in.view().crop(need.y0, need.x0, need.y1 - need.y0, need.x1 - need.x0));
      warp(held, need.y0, need.x0, steps, {}, part, scratch);
      EXPECT_TRUE(equal_pixels(whole, part)) << degrees << " " << scale;
    }
  }
}

TEST(Warp, AFieldMovesPixels) {
  const Image in = picture(16, 16, 1);
  DisplacementField field;
  field.h = field.w = 16;
  field.dx.assign(256, 2);
  field.dy.assign(256, -1);
  WarpStep s = make({1, 0, 0, 0, 1, 0, 0, 0, 1}, 16, 16, 16, 16);
  s.field = &field;
  Image out;
  WarpScratch scratch;
  warp(in, 0, 0, {&s, 1}, {}, out, scratch);
  for (int y = 1; y < 16; ++y) {
    for (int x = 0; x < 14; ++x) ASSERT_EQ(out.row_u8(y)[x], in.row_u8(y - 1)[x + 2]);
  }
}

TEST(Warp, InverseAndErrors) {
  const Matrix m = {1.1, 0.2, 3, -0.1, 0.9, 2, 0.001, 0.002, 1};
  const auto p = map_point(m, 5, 7), q = map_point(invert(m), p[0], p[1]);
  EXPECT_NEAR(q[0], 5, 1e-9);
  EXPECT_NEAR(q[1], 7, 1e-9);
  EXPECT_THROW(invert({1, 2, 0, 2, 4, 0, 0, 0, 1}), std::invalid_argument);
  EXPECT_THROW(warp(picture(8, 8, 1), {1, 0, 0, 0, 1, 0, -0.3, 0, 1}, 8, 8), std::invalid_argument);
}

}  // namespace
}  // namespace ballast
