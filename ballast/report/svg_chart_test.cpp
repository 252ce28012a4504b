#include <ballast/report/svg_chart.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <ballast/report/wilson.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

namespace ballast {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(Ticks, AreRoundNumbersInsideTheRange) {
  EXPECT_THAT(nice_ticks(0, 1, 5), ElementsAre(0, DoubleNear(0.2, 1e-12), DoubleNear(0.4, 1e-12),
                                               DoubleNear(0.6, 1e-12), DoubleNear(0.8, 1e-12), 1));
  EXPECT_THAT(nice_ticks(0, 17, 8), ElementsAre(0, 5, 10, 15));
  EXPECT_THAT(nice_ticks(-3, 3, 3), ElementsAre(-2, 0, 2));
  EXPECT_THAT(nice_ticks(2, 2, 5), ElementsAre(2));
}

TEST(Ticks, FewAndWithinForAnyRange) {
  rc::check("ticks", [] {
    double lo = *rc::gen::inRange(-1000000, 1000000) / 100.0;
    double width = *rc::gen::inRange(1, 1000000) / 1000.0;
    int n = *rc::gen::inRange(1, 12);
    auto ticks = nice_ticks(lo, lo + width, n);
    RC_ASSERT(ticks.size() <= static_cast<size_t>(n) + 1);
    for (double t : ticks) {
      RC_ASSERT(t >= lo - 1e-5 * width);
      RC_ASSERT(t <= lo + width * (1 + 1e-5));
    }
  });
}

TEST(Ticks, LabelsHaveTheDigitsThatTellThemApart) {
  EXPECT_THAT(tick_labels({0, 0.5, 1}), ElementsAre("0.0", "0.5", "1.0"));
  EXPECT_THAT(tick_labels({0, 5, 10}), ElementsAre("0", "5", "10"));
  EXPECT_THAT(tick_labels({0.9, 0.92}, 100), ElementsAre("90", "92"));
  EXPECT_THAT(tick_labels({0, 1e-6}), ElementsAre("0", "1e-06"));
}

TEST(Decimate, KeepsEndsAndExtremes) {
  std::vector<ChartPoint> points;
  for (int i = 0; i < 100'000; ++i) {
    points.push_back({static_cast<double>(i), std::sin(i * 0.001)});
  }
  points[54'321].y = 40;
  points[77'777].y = -40;
  auto few = decimate(points, 2000);
  EXPECT_LE(few.size(), 2000u);
  EXPECT_EQ(few.front().x, 0);
  EXPECT_EQ(few.back().x, 99'999);
  auto has = [&](double y) {
    return std::any_of(few.begin(), few.end(), [&](ChartPoint p) { return p.y == y; });
  };
  EXPECT_TRUE(has(40));
  EXPECT_TRUE(has(-40));
  for (size_t i = 1; i < few.size(); ++i) {
    ASSERT_LT(few[i - 1].x, few[i].x);
  }
  EXPECT_EQ(decimate(few, 2000).size(), few.size());
}

LineChart chart_of(std::vector<ChartPoint> points) {
  return {.id = "c",
          .title = "Loss <1>",
          .summary = "It fell.",
          .series = {{.name = "train & val", .points = std::move(points)}}};
}

TEST(LineChart, HasTitleSummaryDataAndPicture) {
  std::string html = line_chart(chart_of({{0, 2}, {1, 1}, {2, 0.5}})).str();
  EXPECT_THAT(html, HasSubstr("<title id=\"c-t\">Loss &lt;1&gt;</title>"));
  EXPECT_THAT(html, HasSubstr("<desc id=\"c-d\">It fell.</desc>"));
  EXPECT_THAT(html, HasSubstr("aria-labelledby=\"c-t c-d\""));
  EXPECT_THAT(html, HasSubstr("<details class=\"data\">"));
  EXPECT_THAT(html, HasSubstr("train &amp; val"));
  // The first point is at the left, the last at the right: 0 and 1000 user units.
  EXPECT_THAT(html, HasSubstr("d=\"M0 "));
  EXPECT_THAT(html, HasSubstr("L1000 "));
}

TEST(LineChart, WholeTicksWhereNumbersAreCounts) {
  LineChart c{.id = "n", .title = "members", .series = {{.name = "a", .points = {{1, .5}, {2, .75}}}}};
  EXPECT_THAT(line_chart(c).str(), HasSubstr(">1.2<"));
  c.whole_x = true;
  EXPECT_THAT(line_chart(c).str(), Not(HasSubstr(">1.2<")));
  EXPECT_THAT(line_chart(c).str(), HasSubstr(">2<"));
}

TEST(LineChart, GapsWhereValuesAreNotFinite) {
  double nan = std::numeric_limits<double>::quiet_NaN();
  std::string html =
      line_chart(
          chart_of(
              {{0, 1}, {1, 2}, {2, nan}, {3, 1}, {4, std::numeric_limits<double>::infinity()}}))
          .str();
  EXPECT_THAT(html, HasSubstr("M0 "));
  // A path of numbers only.
  size_t path = html.find("class=\"line s0\"");
  ASSERT_NE(path, std::string::npos);
  std::string d = html.substr(html.find("d=\"", path) + 3);
  d = d.substr(0, d.find('"'));
  EXPECT_EQ(d.find_first_not_of("ML0123456789.- "), std::string::npos) << d;
  EXPECT_EQ(std::count(d.begin(), d.end(), 'M'), 2) << d;
}

TEST(LineChart, WithoutNumbersItSaysSo) {
  EXPECT_THAT(line_chart(chart_of({})).str(), HasSubstr("No numbers were recorded"));
  EXPECT_THAT(line_chart(chart_of({{0, std::nan("")}})).str(), Not(HasSubstr("<svg")));
  EXPECT_THAT(line_chart(chart_of({{1, 1}})).str(), HasSubstr("<svg"));
}

TEST(LineChart, LinesDifferWithoutColour) {
  LineChart c = chart_of({{0, 1}, {1, 2}});
  c.series.push_back({.name = "other", .points = {{0, 2}, {1, 3}}, .style = 1});
  std::string html = line_chart(c).str();
  EXPECT_THAT(html, HasSubstr("line s0"));
  EXPECT_THAT(html, HasSubstr("line s1"));
}

TEST(Reliability, BinsAreOpenBelowAndClosedAbove) {
  std::vector<PredictionRow> rows;
  auto add = [&](double confidence, bool right) {
    rows.push_back({.index = 0,
                    .target = 0,
                    .pred = 0,
                    .rank = right ? 0 : 1,
                    .loss = 0,
                    .confidence = confidence});
  };
  add(0, false);   // counts in the first
  add(0.2, true);  // 0.2 = 3/15: the upper end of bin 2
  add(0.2000001, true);
  add(1.0, true);  // the last
  add(std::nan(""), true);
  auto bins = reliability_bins(rows);
  ASSERT_EQ(bins.size(), 15u);
  EXPECT_EQ(bins[0].n, 1);
  EXPECT_EQ(bins[2].n, 1);
  EXPECT_EQ(bins[3].n, 1);
  EXPECT_EQ(bins[14].n, 1);
  // |0 - 0| + |1 - .2| + |1 - .2000001| + 0, over 4.
  EXPECT_NEAR(calibration_error(bins), (0.8 + 0.7999999) / 4, 1e-9);
  EXPECT_TRUE(std::isnan(calibration_error(reliability_bins({}))));
}

TEST(Confusion, CountsTargetsInRows) {
  std::vector<PredictionRow> rows = {{0, 0, 1, 1, 0, 0},
                                     {1, 0, 0, 0, 0, 0},
                                     {2, 1, 0, 1, 0, 0},
                                     {3, 7, 0, 1, 0, 0},
                                     {4, 0, -1, 1, 0, 0}};
  Confusion c = confusion_of(rows, 2);
  EXPECT_EQ(c.at(0, 0), 1);
  EXPECT_EQ(c.at(0, 1), 1);
  EXPECT_EQ(c.at(1, 0), 1);
  EXPECT_EQ(c.at(1, 1), 0);
  EXPECT_EQ(confusion_of(rows, 201).classes, 0);
  EXPECT_EQ(confusion_map(Confusion{}, {}).str(), "");
}

TEST(Confusion, NumbersUpToTwentyClasses) {
  std::vector<std::string> names(21, "x");
  std::vector<PredictionRow> rows(7777, {0, 0, 0, 0, 0, 0});
  EXPECT_THAT(confusion_map(confusion_of(rows, 20), names).str(), HasSubstr(">7777<"));
  EXPECT_THAT(confusion_map(confusion_of(rows, 21), names).str(), Not(HasSubstr(">7777<")));
}

TEST(Wilson, KnownValues) {
  // 81 of 263, as in Newcombe 1998, table I (method 3): 0.2553, 0.3662.
  Interval i = wilson_interval(81, 263);
  EXPECT_NEAR(i.low, 0.2553, 5e-5);
  EXPECT_NEAR(i.high, 0.3662, 5e-5);
  // 0 of 20: 0, 0.1611; 1 of 29: 0.0061, 0.1718.
  EXPECT_EQ(wilson_interval(0, 20).low, 0);
  EXPECT_NEAR(wilson_interval(0, 20).high, 0.1611, 5e-5);
  EXPECT_NEAR(wilson_interval(1, 29).low, 0.0061, 5e-5);
  EXPECT_NEAR(wilson_interval(1, 29).high, 0.1718, 5e-5);
  EXPECT_EQ(wilson_interval(20, 20).high, 1);
  EXPECT_EQ(wilson_interval(0, 0).high, 1);
  EXPECT_THROW(wilson_interval(3, 2), std::invalid_argument);
}

}  // namespace
}  // namespace ballast
