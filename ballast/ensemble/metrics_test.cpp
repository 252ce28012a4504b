#include <ballast/ensemble/metrics.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include <ballast/ensemble/combine.h>
#include <ballast/ensemble/test_golden.h>

namespace ballast {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(EnsembleMetrics, TheEdgesOfBinsBelongToTheLowerOne) {
  EXPECT_EQ(confidence_bin(0), 0);
  for (int k = 1; k <= 15; ++k) EXPECT_EQ(confidence_bin(k / 15.0), k - 1) << k;
  EXPECT_EQ(confidence_bin(0.2F), 3);  // 0.2f lies above 3/15
  EXPECT_EQ(confidence_bin(1.0), 14);
  EXPECT_EQ(confidence_bin(1.0 + 1e-7), 14);
}

TEST(EnsembleMetrics, ByHand) {
  // Two rows in one bin (0.6, 0.667], one right; one row of 0.9, right.
  const std::vector<float> p = {.65F, .35F, .35F, .65F, .9F, .1F};
  const std::vector<int32_t> y = {0, 0, 0};
  const Quality q = quality({p.data(), 3, 2, false}, y);
  EXPECT_NEAR(q.accuracy, 2 / 3.0, 1e-12);
  EXPECT_NEAR(q.nll, -(std::log(.65) + std::log(.35) + std::log(.9)) / 3, 1e-7);
  EXPECT_NEAR(q.brier, (2 * .35 * .35 + 2 * .65 * .65 + 2 * .1 * .1) / 3, 1e-7);
  EXPECT_NEAR(q.ece, 2 / 3.0 * .15 + 1 / 3.0 * .1, 1e-7);
  // Fewer rows than bins: every confidence has its own bin, the equal ones share one.
  EXPECT_NEAR(q.ace, q.ece, 1e-7);
  EXPECT_EQ(q.mce, 0);  // no bin has 30 rows
}

TEST(EnsembleMetrics, EqualScikitLearn) {
  const Golden g;
  const auto members = g.members();
  const Combined mean = combine(members);
  const auto first = probabilities(members[0]);
  const auto compare = [&](const Predictions& p, const nlohmann::json& e) {
    const Quality q = quality(p, g.label);
    EXPECT_NEAR(q.nll, e.at("nll").get<double>(), 1e-6);
    EXPECT_NEAR(q.brier, e.at("brier").get<double>(), 1e-6);
    EXPECT_NEAR(q.accuracy, e.at("accuracy").get<double>(), 1e-12);
    EXPECT_NEAR(q.ece, e.at("ece").get<double>(), 1e-6);
    EXPECT_NEAR(q.class_ece, e.at("class_ece").get<double>(), 1e-6);
  };
  compare(mean.view(), g.json.at("metrics").at("mean"));
  compare({first.data(), members[0].n, members[0].k, false}, g.json.at("metrics").at("first"));
}

TEST(EnsembleMetrics, EqualConfidencesAreNeverSplit) {
  // 100 rows of confidence .7, of which the first 70 are right: one bin, no error; split it would show one.
  std::vector<float> p;
  std::vector<int32_t> y;
  for (int i = 0; i < 100; ++i) {
    p.insert(p.end(), {.7F, .3F});
    y.push_back(i < 70 ? 0 : 1);
  }
  EXPECT_NEAR(quality({p.data(), 100, 2, false}, y).ace, 0, 1e-7);
}

TEST(EnsembleMetrics, EqualCountBinsHoldEqualCounts) {
  // Confidences rising from .5 to 1; right where the confidence is above .75: each bin's gap by hand.
  const int n = 300;
  std::vector<float> p;
  std::vector<int32_t> y;
  for (int i = 0; i < n; ++i) {
    const float c = 0.5F + 0.5F * static_cast<float>(i + 1) / 301.0F;
    p.insert(p.end(), {c, 1 - c});
    y.push_back(i < 150 ? 1 : 0);
  }
  double expected = 0;
  for (int b = 0; b < 15; ++b) {
    double confidence = 0, right = 0;
    for (int i = 20 * b; i < 20 * (b + 1); ++i) {
      confidence += static_cast<double>(p[static_cast<size_t>(2 * i)]) / 20;
      right += (i < 150 ? 0 : 1) / 20.0;
    }
    expected += std::abs(right - confidence) / 15;
  }
  EXPECT_NEAR(quality({p.data(), n, 2, false}, y).ace, expected, 1e-9);
}

TEST(EnsembleMetrics, Degenerate) {
  const std::vector<float> p = {1, 0, 0};
  const std::vector<int32_t> right = {0}, wrong = {2};
  EXPECT_EQ(quality({p.data(), 0, 3, false}, {}).nll, 0);
  const Quality good = quality({p.data(), 1, 3, false}, right), bad = quality({p.data(), 1, 3, false}, wrong);
  EXPECT_EQ(good.nll, 0);
  EXPECT_EQ(good.ece, 0);
  EXPECT_NEAR(bad.nll, 30 * std::log(10), 1e-4);
  EXPECT_EQ(bad.brier, 2);
  EXPECT_EQ(bad.ece, 1);
  EXPECT_THAT([&] { quality({p.data(), 1, 3, false}, std::vector<int32_t>{3}); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("[metrics] a label must be in [0, 3), got 3 at row 0")));
  EXPECT_THAT([&] { quality({p.data(), 1, 3, false}, {}); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("[metrics] labels must be one per row, got 0 for 1")));
}

TEST(EnsembleMetrics, BootstrapGivesTheSameBitsForAnyNumberOfThreads) {
  const Golden g;
  const Combined mean = combine(g.members());
  const QualityBounds a = bootstrap_quality(mean.view(), g.label, {}, Key(1), 1), b = bootstrap_quality(mean.view(), g.label, {}, Key(1), 3);
  EXPECT_EQ(a.nll.low, b.nll.low);
  EXPECT_EQ(a.class_ece.high, b.class_ece.high);
  const Quality q = quality(mean.view(), g.label);
  EXPECT_LT(a.nll.low, q.nll);
  EXPECT_GT(a.nll.high, q.nll);
  EXPECT_LT(a.accuracy.low, q.accuracy);
  EXPECT_GT(a.accuracy.high, q.accuracy);
  // The paired difference of a table with itself is nothing.
  const RowScores rows = row_scores(mean.view(), g.label);
  EXPECT_EQ(bootstrap_difference(rows.nll, rows.nll, Key(1)).bounds.high, 0);
  const Estimate e = bootstrap_mean(rows.nll, Key(1));
  EXPECT_NEAR(e.bounds.low, a.nll.low, 1e-12);  // the same rows
}

TEST(EnsembleMetrics, BootstrapIntervalsCoverNinetyFivePercent) {
  // Rows of an exponential distribution of mean 1; n = 400. Standard error of a coverage of 95 % in 1,000 keys: 0.7 %.
  int covered = 0;
  for (uint64_t key = 0; key < 1000; ++key) {
    std::vector<double> x(400);
    fill_uniform(Key(key).fold_in("rows"), 0, x);
    for (double& v : x) v = -std::log(v);
    const Estimate e = bootstrap_mean(x, Key(key), 2);
    covered += e.bounds.low <= 1 && 1 <= e.bounds.high;
  }
  EXPECT_GE(covered, 930);
  EXPECT_LE(covered, 970);
}

TEST(EnsembleMetrics, LabelsDrawnFromTheProbabilitiesLieInThePerfectBand) {
  int inside = 0;
  const std::vector<float> z = normal_floats(5, 500 * 4, 2);
  const auto p = probabilities({z.data(), 500, 4, true});
  const Predictions table{p.data(), 500, 4, false};
  for (uint64_t key = 0; key < 1000; ++key) {
    std::vector<double> u(500);
    fill_uniform(Key(key).fold_in("labels"), 0, u);
    std::vector<int32_t> y(500);
    for (size_t i = 0; i < 500; ++i) {
      double sum = 0;
      for (int32_t c = 0; c < 3 && u[i] >= sum + static_cast<double>(p[i * 4 + static_cast<size_t>(c)]); ++c) {
        sum += static_cast<double>(p[i * 4 + static_cast<size_t>(c)]);
        y[i] = c + 1;
      }
    }
    const PerfectEce band = perfect_ece(table, Key(key), 2);
    const double ece = quality(table, y).ece;
    inside += band.bounds.low <= ece && ece <= band.bounds.high;
  }
  EXPECT_GE(inside, 920);  // 200 sets a key: the band's ends are themselves uncertain
  EXPECT_LE(inside, 970);
}

}  // namespace
}  // namespace ballast
