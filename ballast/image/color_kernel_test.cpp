#include <ballast/image/color_kernel.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include <ballast/base/cpu.h>
#include <ballast/base/key.h>
#include <ballast/image/filter_kernel.h>
#include <ballast/image/noise_kernel.h>
#include <ballast/image/table_kernel.h>
#include <ballast/image/warp_kernel.h>

namespace ballast::detail {
namespace {

template <class Body>
void on_every_target(Body&& body) {
  for (const std::string& target : simd_targets()) {
    SCOPED_TRACE(target);
    force_simd_target(target);
    body();
  }
  force_simd_target("");
}

std::vector<uint8_t> noise(size_t n, uint64_t seed) {
  std::vector<uint8_t> out(n);
  for (size_t i = 0; i < n; ++i) out[i] = static_cast<uint8_t>(bits16(Key(seed), i));
  return out;
}

TEST(ColorKernel, ChainsEqualTheReferenceForEveryLengthAndLeaveWhatLiesBehind) {
  const std::vector<std::vector<ColorStep>> chains = {
      {brightness_step(1.37)},
      {contrast_step(0.61, 117.25F)},
      {saturation_step(1.9)},
      {saturation_step(0)},
      {saturation_step(2)},
      {saturation_step(37)},
      {saturation_step(1000)},
      {hue_step(0.13)},
      {hue_step(-0.5)},
      {grayscale_step()},
      {hue_step(0.31), brightness_step(0.8), contrast_step(1.4, 90.5F), saturation_step(0.3)}};
  on_every_target([&] {
    for (const int32_t c : {3, 4}) {
      for (size_t n = 0; n <= 67; ++n) {
        for (const size_t offset : {0U, 1U, 3U}) {
          const size_t bytes = n * static_cast<size_t>(c);
          const auto in = noise(bytes + offset, n);
          for (const auto& chain : chains) {
            std::vector<uint8_t> want(bytes + 8, 0xAB), got(bytes + 8, 0xAB);
            color_chain_reference(in.data() + offset, want.data(), n, c, chain.data(), chain.size());
            color_chain(in.data() + offset, got.data(), n, c, chain.data(), chain.size());
            ASSERT_EQ(got, want) << n << " pixels of " << c;
            ASSERT_EQ(color_chain_sum(in.data() + offset, got.data(), n, c, chain.data(), chain.size()),
                      gray_sum_reference(in.data() + offset, n, c, chain.data(), chain.size()));
            ASSERT_EQ(got, want) << n << " pixels of " << c;
            ASSERT_EQ(gray_sum(in.data() + offset, n, c, chain.data(), chain.size()),
                      gray_sum_reference(in.data() + offset, n, c, chain.data(), chain.size()));
          }
        }
      }
    }
  });
}

TEST(ColorKernel, EveryColourTurnsItsHueAsTheReference) {
  // A coarse lattice of all colours, which holds every tie of maximum and minimum.
  std::vector<uint8_t> in;
  for (int r = 0; r < 256; r += 15) {
    for (int g = 0; g < 256; g += 15) {
      for (int b = 0; b < 256; b += 15) {
        for (const int v : {r, g, b}) in.push_back(static_cast<uint8_t>(v));
      }
    }
  }
  on_every_target([&] {
    for (const double f : {-0.5, -1.0 / 6, 0.0, 0.02, 1.0 / 3, 0.5}) {
      const ColorStep s = hue_step(f);
      std::vector<uint8_t> want(in.size()), got(in.size());
      color_chain_reference(in.data(), want.data(), in.size() / 3, 3, &s, 1);
      color_chain(in.data(), got.data(), in.size() / 3, 3, &s, 1);
      ASSERT_EQ(got, want) << f;
    }
  });
}

// All colours of one red level.
std::vector<uint8_t> plane_of(int red) {
  std::vector<uint8_t> in;
  in.reserve(3 * 65536);
  for (int g = 0; g < 256; ++g) {
    for (int b = 0; b < 256; ++b) {
      for (const int v : {red, g, b}) in.push_back(static_cast<uint8_t>(v));
    }
  }
  return in;
}

std::vector<uint8_t> run(const std::vector<uint8_t>& in, const ColorStep& step) {
  std::vector<uint8_t> out(in.size());
  color_chain(in.data(), out.data(), in.size() / 3, 3, &step, 1);
  return out;
}

double gray_of(const uint8_t* p) { return 0.2989 * p[0] + 0.587 * p[1] + 0.114 * p[2]; }

TEST(ColorKernel, NoTurnAndNoFactorChangeNoColour) {
  for (int red = 0; red < 256; ++red) {
    const auto in = plane_of(red);
    ASSERT_EQ(run(in, hue_step(0)), in) << red;
    ASSERT_EQ(run(in, saturation_step(1)), in) << red;
  }
}

TEST(ColorKernel, AThirdOfTheCircleMovesTheChannelsOn) {
  for (int red = 0; red < 256; red += 5) {
    const auto in = plane_of(red), out = run(in, hue_step(1.0 / 3));
    for (size_t i = 0; i < in.size(); i += 3) {
      for (size_t j = 0; j < 3; ++j) ASSERT_NEAR(out[i + j], in[i + (j + 2) % 3], 1) << red << " " << i;
    }
  }
}

TEST(ColorKernel, HueIsThatOfHsvInDoubleWithinALevel) {
  for (int red = 0; red < 256; red += 17) {
    for (const double f : {-0.47, -0.1, 0.05, 0.1, 0.29, 0.5}) {
      const auto in = plane_of(red), out = run(in, hue_step(f));
      for (size_t i = 0; i < in.size(); i += 3) {
        const double r = in[i], g = in[i + 1], b = in[i + 2], high = std::max({r, g, b}), range = high - std::min({r, g, b});
        double sixths = 0;
        if (range > 0) sixths = high == r ? (g - b) / range : high == g ? (b - r) / range + 2 : (r - g) / range + 4;
        for (size_t j = 0; j < 3; ++j) {
          const double corner = j == 0 ? 5 : j == 1 ? 3 : 1;
          const double k = std::fmod(sixths + 6 * f + corner + 12, 6);
          const double value = high - range * std::clamp(std::min(k, 4 - k), 0.0, 1.0);
          // The value rounded down, or up where it lies a little below a whole one.
          ASSERT_GE(out[i + j], std::floor(value - 1.0 / 64)) << red << " " << i << " " << f;
          ASSERT_LE(out[i + j], std::floor(value + 1.0 / 16)) << red << " " << i << " " << f;
        }
      }
    }
  }
}

TEST(ColorKernel, GrayAndSaturationAreThoseOfRealNumbersWithinALevel) {
  int64_t below = 0, all = 0;
  for (int red = 0; red < 256; red += 3) {
    const auto in = plane_of(red), gray = run(in, grayscale_step());
    for (size_t i = 0; i < in.size(); i += 3) {
      const double exact = gray_of(&in[i]);
      ASSERT_LE(gray[i], std::floor(exact));
      ASSERT_GE(gray[i], std::floor(exact - 3.5 / 256));
      below += gray[i] < std::floor(exact) ? 1 : 0;
      ++all;
    }
    for (const double f : {0.0, 0.37, 0.9, 1.4, 2.0, 3.7, 100.0}) {
      const auto out = run(in, saturation_step(f));
      for (size_t i = 0; i < in.size(); ++i) {
        const double g = gray[i - i % 3], exact = std::clamp(g + f * (in[i] - g), 0.0, 255.0);
        ASSERT_NEAR(out[i], exact, 1.0) << red << " " << i << " " << f;
      }
    }
  }
  EXPECT_LT(static_cast<double>(below), 0.01 * static_cast<double>(all));
}

TEST(ColorKernel, TablesEqualTheReference) {
  const auto tables = noise(768, 5);
  const auto look = [&] {
    for (size_t n = 0; n <= 261; ++n) {
      const auto in = noise(3 * n + 1, n + 7);
      std::vector<uint8_t> want(3 * n + 8, 0xAB), got(3 * n + 8, 0xAB);
      apply_table_reference(in.data() + 1, want.data(), 3 * n, tables.data());
      apply_table(in.data() + 1, got.data(), 3 * n, tables.data());
      ASSERT_EQ(got, want);
      apply_tables3_reference(in.data() + 1, want.data(), n, tables.data());
      apply_tables3(in.data() + 1, got.data(), n, tables.data());
      ASSERT_EQ(got, want);
    }
  };
  on_every_target(look);
  look();  // the machine's own, where it has look-ups of 256 entries
}

TEST(FilterKernel, RowsEqualTheReference) {
  on_every_target([&] {
    for (size_t n = 0; n <= 67; ++n) {
      const auto a = noise(n + 64, 1), b = noise(n + 64, 2), c = noise(n + 64, 3);
      std::vector<uint8_t> want(n + 8, 0xAB), got(n + 8, 0xAB);
      sharpen_row_reference(a.data() + 8, b.data() + 8, c.data() + 8, 3, n, 1.7F, -0.7F, want.data());
      sharpen_row(a.data() + 8, b.data() + 8, c.data() + 8, 3, n, 1.7F, -0.7F, got.data());
      ASSERT_EQ(got, want);
      const float w[5] = {0.1F, 0.2F, 0.4F, 0.2F, 0.1F};
      std::vector<float> f(n + 1, -1), g(n + 1, -1);
      blur_columns_reference(a.data(), n, 3, w, 5, f.data());
      blur_columns(a.data(), n, 3, w, 5, g.data());
      ASSERT_EQ(f, g);
      const float* rows[5] = {f.data(), g.data(), f.data(), g.data(), f.data()};
      blur_rows_reference(rows, w, 5, n, want.data());
      blur_rows(rows, w, 5, n, got.data());
      ASSERT_EQ(got, want);
    }
  });
}

TEST(FilterKernel, MediansAndMeansEqualTheReference) {
  on_every_target([&] {
    for (size_t n : {0U, 1U, 15U, 16U, 17U, 63U, 64U, 65U, 130U, 200U}) {
      std::vector<std::vector<uint8_t>> lines;
      for (uint32_t k = 0; k < 255; ++k) lines.push_back(noise(n + 16, k + 1));
      std::vector<const uint8_t*> rows;
      for (const auto& line : lines) rows.push_back(line.data());
      std::vector<uint8_t> want(n + 8, 0xAB), got(n + 8, 0xAB);
      for (size_t size : {3U, 5U}) {
        median_row_reference(rows.data(), size, 3, n, want.data());
        median_row(rows.data(), size, 3, n, got.data());
        ASSERT_EQ(got, want) << n << ' ' << size;
      }
      for (size_t count : {1U, 2U, 3U, 7U, 10U, 254U, 255U}) {
        mean_row_reference(rows.data(), count, n, want.data());
        mean_row(rows.data(), count, n, got.data());
        ASSERT_EQ(got, want) << n << ' ' << count;
      }
    }
    // Every sum of 255 values near the top, where a quotient is most easily one too small.
    std::vector<uint8_t> white(64, 255), last(64), got(64), want(64);
    for (size_t i = 0; i < 64; ++i) last[i] = static_cast<uint8_t>(255 - i);
    for (size_t other = 0; other < 8; ++other) {
      std::vector<const uint8_t*> taps(255, white.data());
      for (size_t k = 0; k < other; ++k) taps[k] = last.data();
      mean_row_reference(taps.data(), 255, 64, want.data());
      mean_row(taps.data(), 255, 64, got.data());
      ASSERT_EQ(got, want);
    }
  });
}

TEST(NoiseKernel, FieldsEqualTheReference) {
  std::vector<float> want(40'000), got(40'000);
  field_normals_reference(77, 3, 5, want.data(), want.size());
  on_every_target([&] {
    field_normals(77, 3, 5, got.data(), got.size());
    ASSERT_EQ(got, want);
    for (size_t n = 0; n <= 67; ++n) {
      for (const uint64_t first : {uint64_t{0}, uint64_t{3}, uint64_t{1} << 34}) {
        std::vector<float> f(n + 1, -9), g(n + 1, -9);
        field_normals_reference(1, 2, first, f.data(), n);
        field_normals(1, 2, first, g.data(), n);
        ASSERT_EQ(f, g) << n << " " << first;
      }
      auto a = noise(n + 8, n), b = a;
      add_noise_reference(a.data(), want.data(), n, 0.02F, 0.3F);
      add_noise(b.data(), want.data(), n, 0.02F, 0.3F);
      ASSERT_EQ(a, b);
    }
  });
}

TEST(WarpKernel, SpansEqualTheReference) {
  const int32_t h = 40, w = 50;
  on_every_target([&] {
    for (const int32_t c : {1, 3, 4}) {
      const auto in = noise(static_cast<size_t>(h * w * c) + 64, static_cast<uint64_t>(c));
      for (int32_t n = 0; n <= 30; ++n) {
        for (const double mw : {0.0, 0.002}) {
          for (const int32_t samples : {1, 2}) {
            const WarpRow lines[2] = {{0.9, 3.3, 0.31, 5.8, mw, 1}, {0.9, 3.5, 0.31, 6.3, mw, 1}};
            std::vector<uint8_t> want(static_cast<size_t>(n * c) + 8, 0xAB), got = want;
            warp_span_reference(in.data(), w * c, c, lines, samples, 2, 1, 5, n, want.data());
            warp_span(in.data(), w * c, c, lines, samples, 2, 1, 5, n, got.data());
            ASSERT_EQ(got, want) << c << " " << n << " " << samples << " " << mw;
            warp_cubic_span_reference(in.data(), w * c, c, lines, samples, 2, 1, 5, n, want.data());
            warp_cubic_span(in.data(), w * c, c, lines, samples, 2, 1, 5, n, got.data());
            ASSERT_EQ(got, want) << c << " " << n << " " << samples << " " << mw << " cubic";
          }
          std::vector<double> x(static_cast<size_t>(n)), y(x.size());
          for (size_t j = 0; j < x.size(); ++j) {
            const double at = static_cast<double>(j);
            x[j] = 9 + 0.9 * at + mw * at * at;
            y[j] = 8 + std::fmod(3.7 * at, 20);
          }
          std::vector<uint8_t> want(static_cast<size_t>(n * c) + 8, 0xAB), got = want;
          warp_points_reference(in.data(), w * c, c, x.data(), y.data(), 2, 1, n, want.data());
          warp_points(in.data(), w * c, c, x.data(), y.data(), 2, 1, n, got.data());
          ASSERT_EQ(got, want) << c << " " << n << " points";
          warp_cubic_points_reference(in.data(), w * c, c, x.data(), y.data(), 2, 1, n, want.data());
          warp_cubic_points(in.data(), w * c, c, x.data(), y.data(), 2, 1, n, got.data());
          ASSERT_EQ(got, want) << c << " " << n << " cubic points";
        }
      }
    }
  });
}

}  // namespace
}  // namespace ballast::detail
