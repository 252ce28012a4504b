#include <ballast/base/check.h>
#include <gtest/gtest.h>

namespace ballast {
namespace {

TEST(Check, PassesWhenTrue) { EXPECT_NO_THROW(check(true, "stem", "never")); }

TEST(Check, ThrowsInvalidArgumentWithStemAndParts) {
  try {
    check(false, "drop_path", "drop_prob must be in [0, 1), got ", 1.5);
    FAIL() << "did not throw";
  } catch (const std::invalid_argument& e) {
    EXPECT_STREQ(e.what(), "[drop_path] drop_prob must be in [0, 1), got 1.5");
  }
}

TEST(Check, ThrowsTheErrorAskedFor) {
  EXPECT_THROW(check<DataError>(false, "idx", "magic must be 0x803, got 0"), DataError);
  EXPECT_THROW(fail<NonFiniteError>("train", "loss must be finite, got nan"), NonFiniteError);
}

}  // namespace
}  // namespace ballast
