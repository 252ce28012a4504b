#include <ballast/ensemble/cascade.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include <ballast/ensemble/metrics.h>
#include <ballast/ensemble/test_golden.h>

namespace ballast {
namespace {

/// Eight members of equal quality on 4,000 rows of 4 classes; most rows are easy.
struct Made {
  std::vector<std::vector<float>> data;
  std::vector<int32_t> label;
  std::vector<Predictions> members;
  explicit Made(uint64_t seed, int64_t n = 4000) {
    for (int64_t i = 0; i < n; ++i) label.push_back(static_cast<int32_t>(bits32(Key(seed).fold_in("y"), static_cast<uint64_t>(i)) % 4));
    for (uint64_t m = 0; m < 8; ++m) {
      data.push_back(normal_floats(Key(seed).fold_in(m).bits(), static_cast<size_t>(n * 4), 1.5));
      for (int64_t i = 0; i < n; ++i) data[m][static_cast<size_t>(i * 4 + label[static_cast<size_t>(i)])] += i % 5 == 0 ? 1.0F : 7.0F;
    }
    for (const auto& d : data) members.push_back({d.data(), n, 4, true});
  }
};

TEST(Cascade, SavesTimeWithinItsBounds) {
  const Made select(1), calib(2), test(3);
  const CascadeOptions o{.cost = std::vector<double>(8, 1.0), .shared_cost = 0.5};
  const Cascade c = fit_cascade(select.members, select.label, calib.members, calib.label, o);
  EXPECT_EQ(c.order.size(), 8);
  const CascadeResult on_select = run_cascade(c, select.members), r = run_cascade(c, test.members);
  EXPECT_EQ(r.worst_ms, 8.5);
  EXPECT_LT(r.expected_ms, 0.6 * 8.5);
  Cascade whole = c;
  std::ranges::fill(whole.tau, std::numeric_limits<double>::infinity());
  const auto nll = [](const Made& m, const CascadeResult& x) { return quality(x.combined.view(), m.label, x.combined.label); };
  EXPECT_LE(nll(select, on_select).nll, nll(select, run_cascade(whole, select.members)).nll + 0.01);
  EXPECT_GE(nll(select, on_select).accuracy, nll(select, run_cascade(whole, select.members)).accuracy - 0.001);
  EXPECT_LE(nll(test, r).nll, nll(test, run_cascade(whole, test.members)).nll + 0.03);
  // The expected time is that of the stages.
  double ms = 0;
  for (const int32_t s : r.stage) ms += (0.5 + s + 1) / static_cast<double>(r.stage.size());
  EXPECT_NEAR(r.expected_ms, ms, 1e-9);
}

TEST(Cascade, TauZeroIsTheFirstMemberAndInfinityAll) {
  const Made m(5, 300);
  Cascade c{.order = {3, 1, 2}, .weights = {1, 2, 1}, .temperature = {1, 1, 1}, .tau = {0, 0}, .cost = {1, 1, 1}};
  const CascadeResult first = run_cascade(c, m.members);
  const Combined one = combine(std::span(&m.members[3], 1));
  EXPECT_EQ(first.combined.probability, one.probability);
  EXPECT_NEAR(first.expected_ms, 1, 1e-9);
  std::ranges::fill(c.tau, std::numeric_limits<double>::infinity());
  const CascadeResult all = run_cascade(c, m.members);
  const Combined three = combine(std::vector<Predictions>{m.members[3], m.members[1], m.members[2]}, {.weights = {1, 2, 1}});
  EXPECT_EQ(all.combined.probability, three.probability);
  EXPECT_NEAR(all.expected_ms, 3, 1e-9);
}

TEST(Cascade, TheBestValueForItsTimeComesFirstAndWeightZeroNever) {
  const Made m(7, 400);
  const Cascade c = fit_cascade(m.members, m.label, m.members, m.label,
                                {.weights = {1, 1, 4, 0, 1, 1, 1, 1}, .cost = {1, .5, 1, 1, 9, 1, 1, 1}});
  EXPECT_EQ(c.order, (std::vector<int32_t>{2, 1, 0, 5, 6, 7, 4}));
  EXPECT_THAT([&] { fit_cascade(m.members, m.label, m.members, m.label, {.cost = {1}}); },
              testing::ThrowsMessage<std::invalid_argument>(testing::HasSubstr("[cascade] costs must be one per member, got 1 for 8")));
}

}  // namespace
}  // namespace ballast
