#include <ballast/ensemble/calibrate.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cmath>

#include <ballast/ensemble/calibrate_kernel.h>
#include <ballast/ensemble/metrics.h>
#include <ballast/ensemble/test_golden.h>

namespace ballast {
namespace {

struct Binary {
  std::vector<float> z;
  std::vector<int32_t> y;
  Predictions view() const { return {z.data(), static_cast<int64_t>(y.size()), 2, true}; }
};
/// Rows of margin 4, of which a share is right; both classes occur.
Binary margin_four(int n, int wrong_of_five) {
  Binary b;
  for (int i = 0; i < n; ++i) {
    const bool one = i % 2 == 1, wrong = i / 2 % 5 < wrong_of_five;
    b.z.insert(b.z.end(), {one ? 0.0F : 4.0F, one ? 4.0F : 0.0F});
    b.y.push_back(static_cast<int32_t>(one != wrong));
  }
  return b;
}

TEST(CalibrateKernel, EqualsTheReferenceBitForBitOnEveryTarget) {
  for (int64_t targets = hwy::SupportedTargets(); targets != 0; targets &= targets - 1) {
    hwy::SetSupportedTargetsForTest(targets & -targets);
    for (size_t k : {1, 2, 10, 33}) {
      for (double b : {0.05, 1.0, 20.0}) {
        std::vector<float> d = normal_floats(k, 48 * k, 30);
        for (float& x : d) x = -std::abs(x);
        d[3] = 0;
        std::vector<double> s(3 * 49, 7.0), r(3 * 49, 7.0);
        tempered_sums(d.data(), 3, k, b, s.data(), s.data() + 49, s.data() + 98);
        tempered_sums_reference(d.data(), 3, k, b, r.data(), r.data() + 49, r.data() + 98);
        ASSERT_EQ(s, r) << hwy::TargetName(targets & -targets) << ' ' << k << ' ' << b;
        for (size_t row = 0; row < 48; ++row) {
          double s0 = 0, s2 = 0;
          for (size_t c = 0; c < k; ++c) {
            const double x = d[(row / 16 * k + c) * 16 + row % 16];
            s0 += std::exp(b * x);
            s2 += x * x * std::exp(b * x);
          }
          ASSERT_NEAR(s[row], s0, 4e-15 * s0 + 1e-300);
          ASSERT_NEAR(s[98 + row], s2, 4e-15 * s2 + 1e-300);
        }
      }
    }
  }
  hwy::SetSupportedTargetsForTest(0);
}

TEST(Calibrate, TemperatureByHand) {
  const Binary b = margin_four(1000, 1);
  const Temperature t = fit_temperature(b.view(), b.y);
  EXPECT_EQ(t.reason, TemperatureReason::fitted);
  EXPECT_NEAR(t.value, 4 / std::log(4.0), 1e-9);
  EXPECT_NEAR(t.nll_before, .818150, 1e-6);
  EXPECT_NEAR(t.nll_after, .500402, 1e-6);
  EXPECT_LE(t.evaluations, 15);
}

TEST(Calibrate, GuardsKeepOneAndSayWhy) {
  const auto reason = [](const Binary& b) {
    const Temperature t = fit_temperature(b.view(), b.y);
    EXPECT_EQ(t.value, 1);
    EXPECT_EQ(t.nll_before, t.nll_after);
    return t.reason;
  };
  EXPECT_EQ(reason(margin_four(1000, 0)), TemperatureReason::separable);
  EXPECT_EQ(reason(margin_four(1000, 5)), TemperatureReason::uninformative);  // all wrong
  EXPECT_EQ(reason(margin_four(99, 1)), TemperatureReason::too_few);
  EXPECT_EQ(reason(margin_four(0, 1)), TemperatureReason::too_few);
  Binary single = margin_four(1000, 1);
  std::ranges::fill(single.y, 0);
  EXPECT_EQ(reason(single), TemperatureReason::too_few);
  // Already calibrated: labels drawn from the probabilities leave nothing to gain but noise, half of the time or more.
  int kept = 0;
  for (uint64_t key = 0; key < 40; ++key) {
    Binary b;
    b.z = normal_floats(key, 2 * 400, 1.5);
    for (uint64_t i = 0; i < 400; ++i) {
      const double p = 1 / (1 + std::exp(static_cast<double>(b.z[2 * i] - b.z[2 * i + 1])));
      b.y.push_back(event(Key(key).fold_in("y"), i, p));
    }
    const Temperature t = fit_temperature(b.view(), b.y);
    EXPECT_LE(t.nll_after, t.nll_before);
    kept += t.reason == TemperatureReason::no_held_out_gain;
  }
  EXPECT_GT(kept, 10);
}

TEST(Calibrate, TemperatureEqualsScipysOptimum) {
  const Golden g;
  const auto members = g.members();
  for (size_t m = 0; m < members.size(); ++m) {
    const auto& e = g.json.at("temperature")[m];
    const Temperature t = fit_temperature(members[m], g.label);
    EXPECT_NEAR(t.nll_before, e.at("nll_before").get<double>(), 1e-9);
    if (t.reason == TemperatureReason::fitted) {
      EXPECT_NEAR(t.value, e.at("value").get<double>(), 1e-6);
      EXPECT_NEAR(t.nll_after, e.at("nll_after").get<double>(), 1e-9);
    }
    EXPECT_LE(t.evaluations, 15);
    EXPECT_LE(t.nll_after, t.nll_before);
    const Temperature one = fit_temperature(members[m], g.label, 1);
    EXPECT_EQ(one.value, t.value);
    EXPECT_EQ(one.held_out_gain, t.held_out_gain);
  }
}

TEST(Calibrate, AScaleOfTheScoresIsFoundAgain) {
  // Labels drawn from softmax(z); z times s needs T = s.
  const int64_t n = 40000;
  std::vector<float> z = normal_floats(3, n * 4, 2);
  std::vector<int32_t> y(n);
  const auto p = probabilities({z.data(), n, 4, true});
  for (int64_t i = 0; i < n; ++i) {
    double u = uniform(Key(9), static_cast<uint64_t>(i));
    int32_t c = 0;
    while (c < 3 && u >= static_cast<double>(p[static_cast<size_t>(i * 4 + c)])) u -= static_cast<double>(p[static_cast<size_t>(i * 4 + c++)]);
    y[static_cast<size_t>(i)] = c;
  }
  const double base = fit_temperature({z.data(), n, 4, true}, y).value;
  EXPECT_NEAR(base, 1, 0.03);
  for (const float s : {0.08F, 0.5F, 3.0F, 15.0F}) {
    std::vector<float> scaled = z;
    for (float& x : scaled) x *= s;
    const Temperature t = fit_temperature({scaled.data(), n, 4, true}, y);
    EXPECT_EQ(t.reason, TemperatureReason::fitted);
    EXPECT_NEAR(t.value / static_cast<double>(s), 1, 0.03) << s;
    EXPECT_LE(t.evaluations, 15) << s;
    // The class order is that of the scores.
    EXPECT_EQ(top_classes({scaled.data(), n, 4, true}), top_classes({z.data(), n, 4, true}));
  }
}

TEST(Calibrate, VotesAreNotTakenForProbabilities) {
  Combined c{.k = 3, .probability = {1, 0, 0, .5F, .5F, 0}, .label = {0, 0}, .tie_level = {0, 0}};
  const auto g = calibration_scores(c, Rule::hard_vote, 4);
  EXPECT_NEAR(g[0], std::log(5.0), 1e-6);
  EXPECT_EQ(g[1], 0);
  EXPECT_NEAR(g[3], std::log(3.0), 1e-6);
  EXPECT_NEAR(calibration_scores(c, Rule::mean_probability, 4)[1], std::log(1e-30), 1e-4);
}

TEST(Calibrate, VectorFindsWhatATemperatureCannot) {
  // Class 0's scores are too high by 1.5 and class 2's too flat.
  const int64_t n = 6000;
  std::vector<float> z = normal_floats(3, n * 3, 2), seen = z;
  std::vector<int32_t> y(n);
  const auto p = probabilities({z.data(), n, 3, true});
  for (int64_t i = 0; i < n; ++i) {
    double u = uniform(Key(9), static_cast<uint64_t>(i));
    int32_t c = 0;
    while (c < 2 && u >= static_cast<double>(p[static_cast<size_t>(i * 3 + c)])) u -= static_cast<double>(p[static_cast<size_t>(i * 3 + c++)]);
    y[static_cast<size_t>(i)] = c;
    seen[static_cast<size_t>(i * 3)] += 1.5F;
    seen[static_cast<size_t>(i * 3 + 2)] /= 2;
  }
  const Predictions table{seen.data(), n, 3, true};
  const VectorScaling v = fit_vector(table, y);
  EXPECT_TRUE(v.chosen);
  EXPECT_GT(v.moved, 0);
  EXPECT_NEAR(v.a[2] / v.a[0], 2, 0.25);
  EXPECT_NEAR(v.b[0] - v.b[1], -1.5, 0.25);
  EXPECT_LT(v.held_out_nll + v.standard_error, v.held_out_nll_temperature);
  const Quality q = quality({apply_vector(table, v).data(), n, 3, false}, y);
  EXPECT_NEAR(q.nll, v.nll, 1e-5);
  // What needs nothing is left alone.
  EXPECT_FALSE(fit_vector({z.data(), 100, 3, true}, std::span(y).first(100)).chosen);
}

TEST(Calibrate, Errors) {
  const Binary b = margin_four(200, 1);
  EXPECT_THAT([&] { fit_temperature(b.view(), std::span(b.y).first(199)); },
              testing::ThrowsMessage<std::invalid_argument>(testing::HasSubstr("[calibrate] labels must be one per row, got 199 for 200")));
  Binary bad = b;
  bad.z[7] = NAN;
  EXPECT_THAT([&] { fit_temperature(bad.view(), bad.y); },
              testing::ThrowsMessage<std::invalid_argument>(testing::HasSubstr("[calibrate] scores must be finite, got nan at row 3, class 1")));
}

}  // namespace
}  // namespace ballast
