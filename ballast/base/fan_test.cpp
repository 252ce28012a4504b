#include <ballast/base/fan.h>

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace ballast {
namespace {

Fans of(std::vector<int64_t> shape, FanOptions options = {}) {
  return fans(shape, options);
}

TEST(Fan, CountsInputsAndOutputsPerUnit) {
  EXPECT_EQ(of({10, 512}).in, 512);
  EXPECT_EQ(of({10, 512}).out, 10);
  EXPECT_EQ(of({64, 3, 7, 7}).in, 147);
  EXPECT_EQ(of({64, 3, 7, 7}).out, 64 * 49);
  EXPECT_EQ(of({64, 1, 3, 3}, {.groups = 64}).in, 9);
  EXPECT_EQ(of({64, 1, 3, 3}, {.groups = 64}).out, 9);
  EXPECT_EQ(of({576, 192}, {.stacked = 3}).out, 192);
  EXPECT_EQ(of({16, 8, 2, 2}, {.groups = 2, .transposed = true}).in, 32);
  EXPECT_EQ(of({16, 8, 2, 2}, {.groups = 2, .transposed = true}).out, 32);
}

TEST(Fan, RefusesWhatIsNoWeight) {
  const auto message = [](std::vector<int64_t> shape, FanOptions options) -> std::string {
    try {
      fans(shape, options);
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message({64}, {}), "[fan] weight must have at least 2 dimensions, got (64)");
  EXPECT_EQ(message({64, 1, 3, 3}, {.groups = 3}),
            "[fan] groups must divide dimension 0, got groups 3 and (64, 1, 3, 3)");
}

}  // namespace
}  // namespace ballast
