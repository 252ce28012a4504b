#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include <ballast/augment/pipeline.h>

namespace ballast {
namespace {

constexpr int32_t kH = 40, kW = 56;

Image gray() {
  Image image(kH, kW, 3);
  for (int32_t y = 0; y < kH; ++y) std::fill_n(image.row_u8(y), 3 * kW, uint8_t{100});
  return image;
}

/// Which pixels a call with fill=9 paints, and what it notes.
struct Painted {
  std::vector<DrawNote> notes;
  Image image;
  bool at(int32_t y, int32_t x) const { return image.row_u8(y)[3 * x] == 9; }
};
Painted paint(const std::string& call, uint64_t seed) {
  Painted out;
  out.image = Pipeline::parse(call).preview(gray(), Key(seed), 3, &out.notes);
  return out;
}

TEST(CoarseDropout, BoxesHaveDrawnSizesAndLieInside) {
  int one = 0;
  const int n = 2000;
  for (uint64_t seed = 0; seed < n; ++seed) {
    const Painted p = paint("coarse_dropout(1..2, height=[0.1, 0.3], width=[0.2, 0.25], fill=9)", seed);
    ASSERT_TRUE(p.notes.size() == 1 || p.notes.size() == 2);
    one += p.notes.size() == 1 ? 1 : 0;
    std::vector<bool> want(kH * kW);
    for (const DrawNote& note : p.notes) {
      const auto& v = note.values;
      ASSERT_TRUE(v[0] >= 0 && v[1] >= 0 && v[0] + v[2] <= kW && v[1] + v[3] <= kH);
      ASSERT_TRUE(v[3] >= std::floor(0.1 * kH) && v[3] <= 0.3 * kH && v[2] >= std::floor(0.2 * kW) && v[2] <= 0.25 * kW);
      for (int y = 0; y < static_cast<int>(v[3]); ++y) {
        for (int x = 0; x < static_cast<int>(v[2]); ++x) {
          want[static_cast<size_t>((static_cast<int>(v[1]) + y) * kW + static_cast<int>(v[0]) + x)] = true;
        }
      }
    }
    for (int32_t y = 0; seed < 50 && y < kH; ++y) {
      for (int32_t x = 0; x < kW; ++x) ASSERT_EQ(p.at(y, x), want[static_cast<size_t>(y * kW + x)]) << y << ' ' << x;
    }
  }
  EXPECT_NEAR(one, n / 2, 5 * std::sqrt(n / 4.0));
}

TEST(GridMask, DropsASquareOfEachCellOfAGrid) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const Painted p = paint("grid_mask([0.2, 0.6], 0.7, fill=9)", seed);
    ASSERT_EQ(p.notes.size(), 1U);
    const double pitch = p.notes[0].values[0], dx = p.notes[0].values[1], dy = p.notes[0].values[2];
    ASSERT_TRUE(pitch >= 8 && pitch <= 24 && dx < pitch && dy < pitch);
    const double side = std::nearbyint(pitch * (1 - 0.7));
    const auto in = [&](double t) { return t - std::floor(t / pitch) * pitch < side; };
    for (int32_t y = 0; y < kH; ++y) {
      for (int32_t x = 0; x < kW; ++x) ASSERT_EQ(p.at(y, x), in(x - dx) && in(y - dy)) << seed << ": " << y << ' ' << x;
    }
  }
}

TEST(HideAndSeek, HidesWholeCellsEachByItself) {
  int hidden = 0, cells = 0;
  std::vector<int> sizes;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    const Painted p = paint("hide_and_seek([8, 12], 0.3, fill=9)", seed);
    const auto cell = static_cast<int32_t>(p.notes[0].values[0]);
    sizes.push_back(cell);
    for (int32_t y = 0; y < kH; ++y) {
      for (int32_t x = 0; x < kW; ++x) ASSERT_EQ(p.at(y, x), p.at(y / cell * cell, x / cell * cell));
    }
    for (int32_t y = 0; y < kH; y += cell) {
      for (int32_t x = 0; x < kW; x += cell, ++cells) hidden += p.at(y, x) ? 1 : 0;
    }
  }
  EXPECT_NEAR(hidden, 0.3 * cells, 5 * std::sqrt(cells * 0.21));
  EXPECT_NEAR(static_cast<double>(std::count(sizes.begin(), sizes.end(), 8)), 200, 5 * 10);
}

}  // namespace
}  // namespace ballast
