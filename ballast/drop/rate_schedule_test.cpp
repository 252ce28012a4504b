#include <ballast/drop/rate_schedule.h>

#include <ballast/drop/test_drop.h>

namespace ballast {
namespace {

TEST(RateSchedule, CurvesAtTheirPoints) {
  const RateSchedule linear{.curve = RateCurve::linear, .from = 0, .to = 0.4, .begin = 0.25, .end = 0.75};
  EXPECT_EQ(rate_at(linear, 0), 0);
  EXPECT_EQ(rate_at(linear, 0.25), 0);
  EXPECT_DOUBLE_EQ(rate_at(linear, 0.5), 0.2);
  EXPECT_EQ(rate_at(linear, 1), 0.4);
  RateSchedule cosine = linear;
  cosine.curve = RateCurve::cosine;
  EXPECT_DOUBLE_EQ(rate_at(cosine, 0.5), 0.2);
  EXPECT_NEAR(rate_at(cosine, 0.375), 0.4 * (1 - std::sqrt(0.5)) / 2, 1e-15);
  const RateSchedule early{.curve = RateCurve::step, .from = 0.3, .to = 0, .end = 0.5};
  EXPECT_EQ(rate_at(early, 0.49), 0.3);
  EXPECT_EQ(rate_at(early, 0.5), 0);
  EXPECT_EQ(rate_at({.to = 0.2}, 0), 0.2);
}

TEST(RateSchedule, ErrorsSayWhatIsRequired) {
  EXPECT_EQ(test::message_of([] { rate_at({.begin = 1, .end = 0}, 0); }), "[rate_schedule] begin must be <= end, got 1 and 0");
  EXPECT_EQ(test::message_of([] { rate_at({.from = 2}, 0); }), "[rate_schedule] from must be in [0, 1], got 2");
  EXPECT_EQ(test::message_of([] { rate_at({}, std::nan("")); }), "[rate_schedule] progress must be in [0, 1], got nan");
}

}  // namespace
}  // namespace ballast
