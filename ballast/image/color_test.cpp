#include <ballast/image/color.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include <ballast/base/detmath.h>

namespace ballast {
namespace {

using Kind = PixelOp::Kind;

Image picture(int32_t h, int32_t w, int32_t c) {
  Image image(h, w, c);
  for (int32_t y = 0; y < h; ++y) {
    for (int32_t x = 0; x < w * c; ++x) image.row_u8(y)[x] = static_cast<uint8_t>(x * 11 + y * 29 + x * y / 3);
  }
  return image;
}

Image run(std::vector<PixelOp> ops, const Image& in) {
  Image out = in.clone();
  PixelScratch scratch;
  run_pixel_ops(ops, out, scratch);
  return out;
}

std::vector<PixelOp> some_ops() {
  return {{Kind::brightness, {1.2}, {}},    {Kind::contrast, {0.7}, {}},   {Kind::saturation, {1.5}, {}},
          {Kind::hue, {0.1}, {}},           {Kind::grayscale, {}, {}},     {Kind::gamma, {0.8, 1}, {}},
          {Kind::invert, {}, {}},           {Kind::posterize, {3}, {}},    {Kind::solarize, {100}, {}},
          {Kind::solarize_add, {40, 128}, {}}, {Kind::rgb_shift, {9, -30, 4}, {}}, {Kind::autocontrast, {}, {}},
          {Kind::equalize, {}, {}},         {Kind::hue_yiq, {0.2}, {}},    {Kind::channel_shuffle, {2, 0, 1}, {}},
          {Kind::sharpness, {1.8}, {}},     {Kind::gaussian_blur, {1.1, 5}, {}}};
}

TEST(Color, AnyTwoInOnePassEqualOneAfterTheOther) {
  for (const int32_t c : {1, 3, 4}) {
    const Image in = picture(13, 37, c);
    for (const PixelOp& a : some_ops()) {
      for (const PixelOp& b : some_ops()) {
        EXPECT_TRUE(equal_pixels(run({a, b}, in), run({b}, run({a}, in))))
            << static_cast<int>(a.kind) << " then " << static_cast<int>(b.kind) << " on " << c << " channels";
      }
    }
    EXPECT_TRUE(equal_pixels(run({{Kind::contrast, {1.3}, {}}, {Kind::hue, {0.2}, {}}, {Kind::contrast, {0.4}, {}}}, in),
                             run({{Kind::contrast, {0.4}, {}}},
                                 run({{Kind::hue, {0.2}, {}}}, run({{Kind::contrast, {1.3}, {}}}, in)))));
  }
}

TEST(Color, AlphaStaysAndGrayPicturesHaveNoHue) {
  const Image rgba = picture(9, 9, 4), gray = picture(9, 9, 1);
  for (const PixelOp& op : some_ops()) {
    const Image out = run({op}, rgba);
    for (int y = 0; y < 9; ++y) {
      for (int x = 0; x < 9; ++x) ASSERT_EQ(out.row_u8(y)[4 * x + 3], rgba.row_u8(y)[4 * x + 3]) << static_cast<int>(op.kind);
    }
  }
  for (const Kind kind : {Kind::saturation, Kind::hue, Kind::grayscale, Kind::channel_shuffle, Kind::hue_yiq}) {
    EXPECT_TRUE(equal_pixels(run({{kind, {0.4}, {}}}, gray), gray));
  }
}

TEST(Color, NeutralParametersChangeNothing) {
  const Image in = picture(12, 20, 3);
  for (const PixelOp& op : {PixelOp{Kind::brightness, {1}, {}}, {Kind::contrast, {1}, {}}, {Kind::saturation, {1}, {}},
                            {Kind::posterize, {8}, {}}, {Kind::solarize, {256}, {}}, {Kind::sharpness, {1}, {}},
                            {Kind::gamma, {1, 1}, {}}, {Kind::gaussian_noise, {0, 0, 1, 2}, Key(3)},
                            {Kind::pixel_dropout, {0, 1}, Key(3)}, {Kind::salt_pepper, {0, 2}, Key(3)},
                            {Kind::motion_blur, {1, 30}, {}}, {Kind::unsharp, {1, 0}, {}}, {Kind::hue_yiq, {0}, {}}}) {
    EXPECT_TRUE(equal_pixels(run({op}, in), in)) << static_cast<int>(op.kind);
  }
}

TEST(Color, FieldNormalIsTheQuantile) {
  // AS 241 states about 1 part in 10^7 for its single-precision form; float arithmetic adds a few units.
  for (uint64_t i = 0; i < 200'000; ++i) {
    const uint32_t word = i < 1000 ? static_cast<uint32_t>(i) : bits32(Key(1), i);
    const double want = normal_quantile((word + 0.5) * 0x1p-32);
    ASSERT_NEAR(detail::field_normal(word), want, 2e-6 * std::max(1.0, std::abs(want))) << word;
  }
}

TEST(Color, NoiseHasItsMomentsAndItsKey) {
  Image in(200, 200, 3);
  for (int y = 0; y < 200; ++y) std::fill_n(in.row_u8(y), 600, uint8_t{128});
  const Image out = run({{Kind::gaussian_noise, {0, 0.1, 1, 2}, Key(9)}}, in);
  double sum = 0, square = 0;
  for (int y = 0; y < 200; ++y) {
    for (int x = 0; x < 600; ++x) {
      const double d = out.row_u8(y)[x] - 128.0;
      sum += d;
      square += d * d;
    }
  }
  const double n = 120'000, sigma = 25.5;
  EXPECT_NEAR(sum / n, 0, 5 * sigma / std::sqrt(n));
  // Rounding adds 1/12; the variance's standard error is sigma^2 sqrt(2/n).
  EXPECT_NEAR(square / n, sigma * sigma + 1.0 / 12, 5 * sigma * sigma * std::sqrt(2 / n));
  EXPECT_TRUE(equal_pixels(out, run({{Kind::gaussian_noise, {0, 0.1, 1, 2}, Key(9)}}, in)));
  EXPECT_FALSE(equal_pixels(out, run({{Kind::gaussian_noise, {0, 0.1, 1, 2}, Key(10)}}, in)));
  const Image gray = run({{Kind::gaussian_noise, {0, 0.1, 0, 2}, Key(9)}}, in);
  EXPECT_EQ(gray.row_u8(3)[30], gray.row_u8(3)[31]);
}

TEST(Color, DropoutAndSaltHaveTheirShares) {
  Image in(300, 300, 3);
  for (int y = 0; y < 300; ++y) std::fill_n(in.row_u8(y), 900, uint8_t{100});
  const Image dropped = run({{Kind::pixel_dropout, {0.2, 1}, Key(4)}}, in);
  const Image salted = run({{Kind::salt_pepper, {0.1, 2}, Key(4)}}, in);
  int black = 0, salt = 0, pepper = 0;
  for (int y = 0; y < 300; ++y) {
    for (int x = 0; x < 300; ++x) {
      black += dropped.row_u8(y)[3 * x] == 0 ? 1 : 0;
      salt += salted.row_u8(y)[3 * x + 1] == 255 ? 1 : 0;
      pepper += salted.row_u8(y)[3 * x + 2] == 0 ? 1 : 0;
    }
  }
  const double n = 90'000;
  EXPECT_NEAR(black, 0.2 * n, 5 * std::sqrt(n * 0.2 * 0.8));
  EXPECT_NEAR(salt, 0.05 * n, 5 * std::sqrt(n * 0.05 * 0.95));
  EXPECT_NEAR(pepper, 0.05 * n, 5 * std::sqrt(n * 0.05 * 0.95));
}

TEST(Color, ClaheEvensOutAndJpegLoses) {
  const Image in = picture(64, 64, 3);
  Image flat(64, 64, 1);
  for (int y = 0; y < 64; ++y) {
    for (int x = 0; x < 64; ++x) flat.row_u8(y)[x] = static_cast<uint8_t>(100 + (x + y) % 8);
  }
  const Image even = run({{Kind::clahe, {4, 4}, {}}}, flat);
  const auto spread = [](const Image& m) {
    int lo = 255, hi = 0;
    for (int y = 0; y < m.h(); ++y) {
      for (int x = 0; x < m.w(); ++x) {
        lo = std::min<int>(lo, m.row_u8(y)[x]);
        hi = std::max<int>(hi, m.row_u8(y)[x]);
      }
    }
    return hi - lo;
  };
  EXPECT_GT(spread(even), 2 * spread(flat));
  EXPECT_FALSE(equal_pixels(run({{Kind::jpeg, {20}, {}}}, in), in));
  const Image small = run({{Kind::downscale, {0.25}, {}}}, in);
  // Nearest up: whole cells of four by four are one colour.
  for (int y = 0; y < 64; ++y) {
    for (int x = 0; x < 64; ++x) ASSERT_EQ(small.row_u8(y)[3 * x], small.row_u8(y / 4 * 4)[3 * (x / 4 * 4)]);
  }
}

TEST(Color, MotionBlurIsTheMeanAlongItsLine) {
  const Image in = picture(9, 15, 1);
  const Image out = run({{Kind::motion_blur, {3, 0}, {}}}, in);
  for (int y = 0; y < 9; ++y) {
    for (int x = 1; x < 14; ++x) {
      const int sum = in.row_u8(y)[x - 1] + in.row_u8(y)[x] + in.row_u8(y)[x + 1];
      ASSERT_EQ(out.row_u8(y)[x], (2 * sum + 3) / 6);
    }
  }
}

TEST(Color, OtherTypesAreRefused) {
  Image f(2, 2, 3, DType::f32);
  PixelScratch scratch;
  EXPECT_THROW(run_pixel_ops({}, f, scratch), std::invalid_argument);
}

// By pixel, with the border repeated; alpha stays.
TEST(Color, MedianAndMotionBlurAreThoseOfTheirPixels) {
  for (int32_t c : {1, 3, 4}) {
    Image in(9, 13, c);
    uint32_t state = 7;
    for (int32_t y = 0; y < in.h(); ++y) {
      for (int32_t i = 0; i < in.w() * c; ++i) in.row_u8(y)[i] = static_cast<uint8_t>((state = state * 1664525 + 1013904223) >> 24);
    }
    const auto at = [&](int32_t y, int32_t x, int32_t j) {
      return in.row_u8(std::clamp(y, 0, in.h() - 1))[std::clamp(x, 0, in.w() - 1) * c + j];
    };
    for (const auto& [kind, a, b] : {std::tuple(Kind::median_blur, 3.0, 0.0), std::tuple(Kind::median_blur, 5.0, 0.0),
                                     std::tuple(Kind::motion_blur, 4.0, 30.0), std::tuple(Kind::motion_blur, 7.0, -100.0),
                                     std::tuple(Kind::motion_blur, 255.0, 20.0)}) {
      const Image out = run({{kind, {a, b}, {}}}, in);
      for (int32_t y = 0; y < in.h(); ++y) {
        for (int32_t x = 0; x < in.w(); ++x) {
          for (int32_t j = 0; j < c; ++j) {
            uint8_t want = at(y, x, j);
            const auto size = static_cast<int32_t>(a);
            if (c == 4 && j == 3) {
            } else if (kind == Kind::median_blur) {
              std::vector<uint8_t> v;
              for (int32_t k = 0; k < size * size; ++k) v.push_back(at(y + k / size - size / 2, x + k % size - size / 2, j));
              std::sort(v.begin(), v.end());
              want = v[v.size() / 2];
            } else {
              int32_t sum = 0;
              for (int32_t k = 0; k < size; ++k) {
                const double t = k - (size - 1) / 2.0, turn = b * 3.14159265358979323846 / 180;
                sum += at(y + static_cast<int32_t>(std::nearbyint(-t * std::sin(turn))), x + static_cast<int32_t>(std::nearbyint(t * std::cos(turn))), j);
              }
              want = static_cast<uint8_t>((2 * sum + size) / (2 * size));
            }
            ASSERT_EQ(out.row_u8(y)[x * c + j], want) << c << ' ' << a << ' ' << y << ' ' << x;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace ballast
