#include <ballast/base/shape.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

namespace ballast {
namespace {

using Sizes = std::vector<int64_t>;

TEST(Shape, Text) {
  EXPECT_EQ(shape_text(Sizes{3, 32, 32}), "(3, 32, 32)");
  EXPECT_EQ(shape_text(Sizes{8}), "(8)");
  EXPECT_EQ(shape_text(Sizes{}), "()");
  EXPECT_EQ(size_text(Sizes{3, 224, 224}), "3x224x224");
}

TEST(Shape, Parse) {
  EXPECT_EQ(parse_size("3x224x224"), (Sizes{3, 224, 224}));
  EXPECT_EQ(parse_size("1,28,28"), (Sizes{1, 28, 28}));
  EXPECT_EQ(parse_size("64"), (Sizes{64}));
  for (const char* text :
       {"", "x", "3x", "3x0", "3x-1", "3 x 4", "3x4y", "99999999999999999999", "3xx4"}) {
    EXPECT_THROW(parse_size(text), std::invalid_argument) << text;
  }
}

TEST(Shape, Numel) {
  EXPECT_EQ(numel(Sizes{}), 1);
  EXPECT_EQ(numel(Sizes{3, 32, 32}), 3072);
  EXPECT_EQ(numel(Sizes{int64_t{1} << 40, int64_t{1} << 40, 0}), 0);
  EXPECT_EQ(numel(Sizes{int64_t{1} << 31, int64_t{1} << 31}), int64_t{1} << 62);
}

TEST(Shape, NumelErrors) {
  try {
    numel(Sizes{int64_t{1} << 32, int64_t{1} << 31});
    FAIL() << "did not throw";
  } catch (const std::invalid_argument& e) {
    EXPECT_STREQ(e.what(),
                 "[shape] the product of sizes must fit 63 bits, got (4294967296, 2147483648)");
  }
  EXPECT_THROW(numel(Sizes{2, -1}), std::invalid_argument);
}

}  // namespace
}  // namespace ballast
