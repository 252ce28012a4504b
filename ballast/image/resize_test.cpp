#include <gtest/gtest.h>
#include <zlib.h>

#include <cmath>
#include <fstream>

#include <nlohmann/json.hpp>

#include <ballast/base/cpu.h>
#include <ballast/image/resize.h>
#include <ballast/image/resize_axis.h>
#include <ballast/image/resize_kernel.h>
#include <ballast/image/test_files.h>

namespace ballast {
namespace {

/// The picture of tests/golden/resize.py.
Image golden_picture(int32_t h, int32_t w, int32_t c) {
  Image image(h, w, c);
  for (int y = 0; y < h; ++y) {
    for (int x = 0; x < w; ++x) {
      for (int j = 0; j < c; ++j) {
        image.row_u8(y)[x * c + j] =
            static_cast<uint8_t>((x * x * 31 + y * y * 17 + x * y * 7 + j * 101 + (x ^ y) * 13) % 256);
      }
    }
  }
  return image;
}

/// Runs `body` with every instruction set of this machine.
template <class Body>
void on_every_target(Body&& body) {
  for (const std::string& target : simd_targets()) {
    SCOPED_TRACE(target);
    force_simd_target(target);
    body();
  }
  force_simd_target("");
}

TEST(Resize, EqualsPillowBitForBitOnEveryTarget) {
  std::ifstream file(BALLAST_TEST_SOURCE_DIR "/tests/golden/resize.json");
  ASSERT_TRUE(file);
  const auto golden = nlohmann::json::parse(file);
  ASSERT_GE(golden["rows"].size(), 600U);
  on_every_target([&] {
    int wrong = 0;
    for (const auto& row : golden["rows"]) {
      const int32_t c = row[1], h = row[2], w = row[3], oh = row[4], ow = row[5];
      const Image out =
          resize(golden_picture(h, w, c), oh, ow, {.interpolation = *interpolation_from(row[0].get<std::string>())});
      uLong crc = crc32(0, nullptr, 0);
      for (int y = 0; y < oh; ++y) crc = crc32(crc, out.row_u8(y), static_cast<uInt>(ow * c));
      if (crc != row[6].get<uLong>() && wrong++ < 5) ADD_FAILURE() << row << " of " << golden["peer"];
    }
    EXPECT_EQ(wrong, 0);
  });
}

TEST(Resize, KernelsEqualTheirReferenceOnEveryTargetAndLength) {
  ResizeScratch scratch;
  on_every_target([&] {
    for (const int c : {1, 3, 4}) {
      for (int w = 1; w <= 70; w += w < 20 ? 1 : 3) {
        for (const auto& [ow, interpolation] :
             {std::pair{1, Interpolation::bilinear}, {w + 3, Interpolation::lanczos}, {(w + 1) / 2, Interpolation::bicubic},
              {2 * w + 1, Interpolation::bilinear}, {33, Interpolation::box}}) {
          const int h = 1 + w % 19;
          const Image in = test::picture(h, w, c, static_cast<uint32_t>(w));
          detail::AxisTable t;
          detail::make_table({0, static_cast<double>(w), 0, w, ow, 0, ow, w % 2 == 0}, interpolation, true, DType::u8, true, t);
          const detail::TapsView taps = {t.start.data(),      t.taps.data(),      t.fixed.data(), t.high_pairs.data(),
                                         t.low_pairs.data(), t.stride,           t.count};
          std::vector<uint8_t> memory(detail::horizontal_scratch(w, ow, c, t.stride) + 64);
          auto* aligned = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
          // Rows one byte longer than the result: the sentinel must stay.
          const auto stride = static_cast<size_t>(ow * c + 1);
          std::vector<uint8_t> got(stride * static_cast<size_t>(h), 0xA5), want = got;
          detail::horizontal_pass(in.row_u8(0), in.view().stride, h, w, c, taps, got.data(), static_cast<ptrdiff_t>(stride), aligned);
          detail::horizontal_pass_reference(in.row_u8(0), in.view().stride, h, c, taps, want.data(), static_cast<ptrdiff_t>(stride));
          ASSERT_EQ(got, want) << c << " channels, " << w << " to " << ow;

          detail::AxisTable v;
          detail::make_table({0, static_cast<double>(h), 0, h, ow, 0, ow, false}, interpolation, true, DType::u8, false, v);
          const detail::TapsView rows = {v.start.data(),      v.taps.data(),      v.fixed.data(), v.high_pairs.data(),
                                         v.low_pairs.data(), v.stride,           v.count};
          const auto n = static_cast<size_t>(w * c);
          std::vector<uint8_t> a(n + 1, 0xA5), b = a;
          for (int i = 0; i < ow; i += 1 + ow / 5) {
            detail::vertical_pass(in.row_u8(0), in.view().stride, n, rows, i, a.data());
            detail::vertical_pass_reference(in.row_u8(0), in.view().stride, n, rows, i, b.data());
            ASSERT_EQ(a, b) << n << " bytes, row " << i;
          }
        }
      }
    }
  });
}

TEST(Resize, FloatsFollowTheFormulaWithin2e6) {
  const int h = 9, w = 14, oh = 5, ow = 20;
  Image in(h, w, 3, DType::f32);
  for (int y = 0; y < h; ++y) {
    for (int x = 0; x < w * 3; ++x) in.row_f32(y)[x] = static_cast<float>((x * 37 + y * 11) % 100) / 100.0F;
  }
  const Image out = resize(in, oh, ow);
  const auto weights = [](int i, int source, int n) {
    const double s = static_cast<double>(source) / n, f = std::max(s, 1.0), c = (i + 0.5) * s;
    std::vector<double> k(static_cast<size_t>(source));
    double sum = 0;
    for (int p = 0; p < source; ++p) sum += k[static_cast<size_t>(p)] = std::max(0.0, 1 - std::abs((p - c + 0.5) / f));
    for (double& x : k) x /= sum;
    return k;
  };
  for (int y = 0; y < oh; ++y) {
    const auto ky = weights(y, h, oh);
    for (int x = 0; x < ow; ++x) {
      const auto kx = weights(x, w, ow);
      double want = 0;
      for (int p = 0; p < h; ++p) {
        for (int q = 0; q < w; ++q) want += ky[static_cast<size_t>(p)] * kx[static_cast<size_t>(q)] * in.row_f32(p)[3 * q + 1];
      }
      ASSERT_NEAR(out.row_f32(y)[3 * x + 1], want, 2e-6);
    }
  }
}

TEST(Resize, FlipIsTheMirroredResult) {
  const Image in = test::picture(21, 34, 3);
  const Image plain = resize(in, 11, 16), flipped = resize(in, 11, 16, {.flip = true});
  const Image same = resize(in, 21, 34, {.flip = true});
  for (int y = 0; y < 11; ++y) {
    for (int x = 0; x < 16; ++x) ASSERT_EQ(flipped.row_u8(y)[3 * x], plain.row_u8(y)[3 * (15 - x)]);
  }
  for (int x = 0; x < 34; ++x) ASSERT_EQ(same.row_u8(4)[3 * x + 2], in.row_u8(4)[3 * (33 - x) + 2]);
}

TEST(Resize, NearestTakesTheStatedIndex) {
  for (const auto& [source, n] : {std::pair{5, 12}, {12, 5}, {7, 7}, {1, 4}, {100, 3}}) {
    const Image in = test::picture(1, source, 1);
    const Image out = resize(in, 1, n, {.interpolation = Interpolation::nearest});
    for (int i = 0; i < n; ++i) ASSERT_EQ(out.row_u8(0)[i], in.row_u8(0)[(2 * i + 1) * source / (2 * n)]);
  }
}

TEST(Resize, SameSizeIsACopyAndNothingStaysNothing) {
  const Image in = test::picture(13, 8, 4);
  EXPECT_TRUE(equal_pixels(resize(in, 13, 8, {.interpolation = Interpolation::lanczos}), in));
  EXPECT_TRUE(resize(ImageView{}, 4, 4).empty());
}

TEST(Resize, WithoutAntialiasEachOutputReadsTwoPixels) {
  const Image in = test::picture(1, 64, 1);
  const Image out = resize(in, 1, 8, {.antialias = false});
  for (int i = 0; i < 8; ++i) {
    const int a = in.row_u8(0)[8 * i + 3], b = in.row_u8(0)[8 * i + 4];
    ASSERT_EQ(out.row_u8(0)[i], (a + b + 1) / 2);
  }
}

TEST(Resize, ErrorsAreNamed) {
  const Image in = test::picture(3, 3, 3);
  EXPECT_THROW(resize(in, 0, 3), std::invalid_argument);
  EXPECT_THROW(resize(in, 3, 70'000), std::invalid_argument);
  Image out(3, 3, 1);
  ResizeScratch scratch;
  EXPECT_THROW(resize_into(in, out, {}, scratch), std::invalid_argument);
  EXPECT_FALSE(interpolation_from("cubic"));
}

TEST(Image, OwnsAlignedPaddedRowsAndMoves) {
  Image image = test::picture(5, 7, 3);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(image.view().data) % 64, 0U);
  EXPECT_EQ(image.view().stride % 64, 0);
  Image other = image.clone();
  EXPECT_TRUE(equal_pixels(other, image));
  other.row_u8(4)[20] ^= 1;
  EXPECT_FALSE(equal_pixels(other, image));
  Image moved = std::move(other);
  EXPECT_EQ(moved.h(), 5);
  EXPECT_THROW(Image(70'000, 1, 1), std::invalid_argument);
  EXPECT_THROW(Image(1, 1, 5), std::invalid_argument);
  EXPECT_THROW(Image(65'535, 65'535, 3), std::invalid_argument);
}

}  // namespace
}  // namespace ballast
