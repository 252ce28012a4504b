#include <ballast/base/duration.h>

#include <gtest/gtest.h>

#include <cmath>

namespace ballast {
namespace {

using enum Duration::Unit;

TEST(Duration, ReadsEachUnit) {
  EXPECT_EQ(Duration::parse("12ep", steps), (Duration{12, epochs}));
  EXPECT_EQ(Duration::parse("500st", epochs), (Duration{500, steps}));
  EXPECT_EQ(Duration::parse("10%", epochs), (Duration{10, percent}));
  EXPECT_EQ(Duration::parse("30s", epochs), (Duration{30, seconds}));
  EXPECT_EQ(Duration::parse("45m", epochs), (Duration{2700, seconds}));
  EXPECT_EQ(Duration::parse("1.5h", epochs), (Duration{5400, seconds}));
}

TEST(Duration, BareNumberHasTheUnitOfItsOption) {
  EXPECT_EQ(Duration::parse("3", epochs), (Duration{3, epochs}));
  EXPECT_EQ(Duration::parse("3", steps), (Duration{3, steps}));
  EXPECT_EQ(Duration::parse("3", seconds), (Duration{3, seconds}));
}

TEST(Duration, RefusesWhatIsNoDuration) {
  for (const char* text : {"", "ep", "x", "-1ep", "3 ep", "3epo", "nan", "inf", "infh", "1e999s", "--3", "5d"}) {
    EXPECT_THROW(Duration::parse(text, epochs), std::invalid_argument) << text;
  }
}

TEST(Duration, TextReadsBack) {
  for (const char* text : {"12ep", "500st", "10%", "30s", "45m", "2h", "0.5ep", "90m", "61s", "0s", "0ep"}) {
    EXPECT_EQ(Duration::parse(text, epochs).text(), text);
  }
}

TEST(Duration, CountsSteps) {
  EXPECT_EQ(Duration::parse("2ep", epochs).steps(100, 1000), 200);
  EXPECT_EQ(Duration::parse("0.5ep", epochs).steps(101, 1000), 51);
  EXPECT_EQ(Duration::parse("7st", epochs).steps(100, 1000), 7);
  EXPECT_EQ(Duration::parse("5%", epochs).steps(100, 1000), 50);
  EXPECT_EQ(Duration::parse("2m", epochs).seconds(), 120);
  EXPECT_THROW(Duration::parse("2m", epochs).steps(100, 1000), std::invalid_argument);
  EXPECT_THROW(Duration::parse("2ep", epochs).seconds(), std::invalid_argument);
}

}  // namespace
}  // namespace ballast
