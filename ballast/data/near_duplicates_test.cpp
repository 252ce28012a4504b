#include <ballast/base/key.h>
#include <ballast/data/near_duplicates.h>
#include <ballast/data/test_data.h>
#include <ballast/image/decode.h>
#include <ballast/image/resize.h>
#include <ballast/image/test_files.h>
#include <ballast/io/file.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <nlohmann/json.hpp>
#include <random>

namespace ballast {
namespace {

namespace fs = std::filesystem;
const fs::path kSource = BALLAST_TEST_SOURCE_DIR;

std::vector<fs::path> photos() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(kSource / "tests/photos")) {
    if (entry.path().extension() == ".jpg") {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

// Hashes by Pillow: tests/golden/dhash.py.
TEST(NearDuplicates, HashIsThatOfPillowsResizeAndGray) {
  const auto golden = nlohmann::json::parse(read_text_file(kSource / "tests/golden/dhash.json"));
  int compared = 0;
  for (const auto& [name, hex] : golden.at("dhash").items()) {
    const Image image = decode(read_file(kSource / name));
    EXPECT_EQ(look_of(image).dhash, std::stoull(hex.get<std::string>(), nullptr, 16)) << name;
    ++compared;
  }
  EXPECT_EQ(compared, 24);
}

TEST(NearDuplicates, PairsAreThoseOfBruteForce) {
  std::mt19937_64 random(7);
  std::vector<PictureLook> looks;
  for (int i = 0; i < 600; ++i) {
    PictureLook look;
    if (i % 3 != 0) {
      look = looks[random() % looks.size()];
      for (uint64_t k = random() % 6; k > 0; --k) {
        look.dhash ^= uint64_t{1} << random() % 64;
      }
      for (uint64_t k = random() % 3; k > 0; --k) {
        for (auto& v : look.small) {
          v = static_cast<uint8_t>(v ^ random() % 16);
        }
      }
    } else {
      look.dhash = random();
      look.small.fill(static_cast<uint8_t>(random()));
    }
    looks.push_back(look);
  }
  for (const int bits : {0, 1, 3}) {
    std::vector<std::pair<int64_t, int64_t>> expected;
    for (size_t i = 0; i < looks.size(); ++i) {
      for (size_t j = i + 1; j < looks.size(); ++j) {
        if (std::popcount(looks[i].dhash ^ looks[j].dhash) <= bits && look_distance(looks[i], looks[j]) <= 8) {
          expected.emplace_back(i, j);
        }
      }
    }
    EXPECT_GT(expected.size(), 20U);
    EXPECT_EQ(near_duplicates(looks, {.max_bits = bits}), expected);
  }
}

TEST(NearDuplicates, FindsAPhotoAgainAtOtherSizesAndQualitiesAndNoOther) {
  std::vector<PictureLook> looks;
  const auto files = photos();
  ASSERT_EQ(files.size(), 24U);
  for (const fs::path& file : files) {
    const Image image = decode(read_file(file));
    looks.push_back(look_of(image));
    looks.push_back(look_of(decode(encode_jpeg(image, 40))));
    looks.push_back(look_of(resize(image, image.h() * 2 / 3, image.w() * 2 / 3)));
  }
  std::set<std::pair<int64_t, int64_t>> found;
  for (const auto& [i, j] : near_duplicates(looks)) {
    EXPECT_EQ(i / 3, j / 3) << files[static_cast<size_t>(i / 3)] << " is not " << files[static_cast<size_t>(j / 3)];
    found.emplace(i, j);
  }
  // Each copy is found from the original.
  EXPECT_GE(found.size(), 48U);
}

TEST(NearDuplicates, GrayAndColourLookAlike) {
  const Image gray = test::picture(40, 50, 1);
  Image colour(40, 50, 3);
  for (int32_t y = 0; y < 40; ++y) {
    for (int32_t x = 0; x < 150; ++x) {
      colour.row_u8(y)[x] = gray.row_u8(y)[x / 3];
    }
  }
  EXPECT_EQ(look_of(gray).dhash, look_of(colour).dhash);
  EXPECT_EQ(look_distance(look_of(gray), look_of(colour)), 0);
  look_of(Image(1, 1, 1));
  look_of(Image(1, 300, 4));
}

TEST(NearDuplicates, RefusesWrongOptions) {
  EXPECT_THROW(near_duplicates({}, {.max_bits = 4}), std::invalid_argument);
  EXPECT_THROW(near_duplicates({}, {.max_distance = -1}), std::invalid_argument);
}

}  // namespace
}  // namespace ballast
