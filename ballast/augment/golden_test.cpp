#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>

#include <nlohmann/json.hpp>

#include <ballast/augment/pipeline.h>
#include <ballast/base/cpu.h>

namespace ballast {
namespace {

/// The pictures of tests/golden/augment.py.
Image golden_picture(int32_t h, int32_t w, int32_t c, bool smooth) {
  Image image(h, w, c);
  for (int y = 0; y < h; ++y) {
    for (int x = 0; x < w; ++x) {
      for (int j = 0; j < c; ++j) {
        const int v = smooth ? std::clamp(40 + 5 * x + 3 * y + 30 * j + (x * y) / 7, 0, 255)
                             : (x * x * 31 + y * y * 17 + x * y * 7 + j * 101 + (x ^ y) * 13) % 256;
        image.row_u8(y)[x * c + j] = static_cast<uint8_t>(v);
      }
    }
  }
  return image;
}

std::vector<uint8_t> from_base64(const std::string& text) {
  const std::string letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<uint8_t> out;
  uint32_t bits = 0;
  int have = 0;
  for (const char ch : text) {
    const size_t v = letters.find(ch);
    if (v == std::string::npos) break;
    bits = bits << 6 | static_cast<uint32_t>(v);
    have += 6;
    if (have >= 8) {
      have -= 8;
      out.push_back(static_cast<uint8_t>(bits >> have));
    }
  }
  return out;
}

TEST(AugmentGolden, EqualsItsPeersOnEveryTarget) {
  std::ifstream file(BALLAST_TEST_SOURCE_DIR "/tests/golden/augment.json");
  ASSERT_TRUE(file);
  const auto golden = nlohmann::json::parse(file);
  ASSERT_GE(golden["rows"].size(), 350U);
  for (const std::string& target : simd_targets()) {
    SCOPED_TRACE(target);
    force_simd_target(target);
    int wrong = 0;
    for (const auto& row : golden["rows"]) {
      const std::string text = row[0];
      const int32_t c = row[2], h = row[3], w = row[4], oh = row[6], ow = row[7], tolerance = row[8];
      const auto want = from_base64(row[9].get<std::string>()), mask = from_base64(row[10].get<std::string>());
      const Image out = Pipeline::parse(text).preview(golden_picture(h, w, c, row[5].get<int>() != 0), Key(0), c);
      ASSERT_EQ(out.h(), oh) << text;
      ASSERT_EQ(out.w(), ow) << text;
      int worst = 0;
      for (int y = 0; y < oh; ++y) {
        for (int x = 0; x < ow * c; ++x) {
          if (!mask.empty() && mask[static_cast<size_t>(y * ow + x / c)] == 0) continue;
          worst = std::max(worst, std::abs(out.row_u8(y)[x] - want[static_cast<size_t>(y * ow * c + x)]));
        }
      }
      if (worst > tolerance && wrong++ < 12) {
        ADD_FAILURE() << text << " on " << h << "x" << w << "x" << c << " differs by " << worst << " from " << row[1]
                      << ", allowed " << tolerance;
      }
    }
    EXPECT_EQ(wrong, 0);
  }
  force_simd_target("");
}

}  // namespace
}  // namespace ballast
