#include <ballast/ensemble/combine.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <ballast/ensemble/test_golden.h>
#include <ballast/ensemble/vote.h>

namespace ballast {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

// Five members, four classes: each rule has another winner, and each tie is decided.
const std::vector<std::vector<float>> kCaseA = {{.10F, .05F, .15F, .70F}, {.15F, .50F, .25F, .10F}, {.40F, .25F, .15F, .20F},
                                                {.45F, .35F, .15F, .05F}, {.05F, .10F, .50F, .35F}};

std::vector<Predictions> rows_of(const std::vector<std::vector<float>>& members, int32_t k = 4) {
  std::vector<Predictions> out;
  for (const auto& m : members) out.push_back({m.data(), static_cast<int64_t>(m.size()) / k, k, false});
  return out;
}

Combined combined(Rule rule, std::vector<double> weights = {}) {
  return combine(rows_of(kCaseA), {.rule = rule, .weights = std::move(weights), .threads = 1});
}

void expect_row(const Combined& c, std::vector<double> p, double tolerance = 1e-6) {
  for (size_t i = 0; i < p.size(); ++i) EXPECT_NEAR(c.probability[i], p[i], tolerance) << i;
}

TEST(Combine, MeanProbabilityByHand) {
  const Combined c = combined(Rule::mean_probability);
  expect_row(c, {.23, .25, .24, .28});
  EXPECT_EQ(c.label[0], 3);
  EXPECT_EQ(c.tie_level[0], 0);
}
TEST(Combine, GeometricByHand) {
  for (const Rule rule : {Rule::geometric, Rule::mean_logit}) {
    const Combined c = combined(rule);
    expect_row(c, {.2230, .2456, .2801, .2513}, 5e-5);
    EXPECT_EQ(c.label[0], 2);
  }
}
TEST(Combine, MedianByHand) {
  const Combined c = combined(Rule::median);
  expect_row(c, {.15 / .75, .25 / .75, .15 / .75, .20 / .75});
  EXPECT_EQ(c.label[0], 1);
}
TEST(Combine, HardVoteByHand) {
  const Combined c = combined(Rule::hard_vote);
  expect_row(c, {.4, .2, .2, .2});
  EXPECT_EQ(c.label[0], 0);
  EXPECT_EQ(c.tie_level[0], 0);
}
TEST(Combine, BordaByHandIsDecidedByTheMean) {
  const Combined c = combined(Rule::borda);
  expect_row(c, {8 / 30.0, 8 / 30.0, 8 / 30.0, 6 / 30.0});
  EXPECT_EQ(c.label[0], 1);
  EXPECT_EQ(c.tie_level[0], 1);
}
TEST(Combine, RunOffByHandRemovesTwoThenOne) {
  const Combined c = combined(Rule::instant_runoff);
  expect_row(c, {.6, 0, 0, .4});
  EXPECT_EQ(c.label[0], 0);
  EXPECT_EQ(c.tie_level[0], 1);
}

TEST(Combine, EqualMeansAreDecidedByTheLowestClass) {
  const std::vector<std::vector<float>> two = {{.4F, .4F, .2F}, {.1F, .1F, .8F}, {.45F, .45F, .1F}};
  const auto members = rows_of(two, 3);
  const Combined mean = combine(std::span(members).first(1));
  EXPECT_EQ(mean.label[0], 0);
  EXPECT_EQ(mean.tie_level[0], 2);
  // One vote each for 0 and 2: the mean (.25 .25 .5) decides.
  const Combined vote = combine(std::span(members).first(2), {.rule = Rule::hard_vote});
  EXPECT_EQ(vote.label[0], 2);
  EXPECT_EQ(vote.tie_level[0], 1);
}

TEST(Combine, BordaSharesThePointsOfTiedClasses) {
  const std::vector<float> row = {.3F, .1F, .3F, .3F};
  const float* rows[] = {row.data()};
  const double weight[] = {2};
  std::vector<double> points(4);
  borda_points(rows, weight, 4, points);
  EXPECT_THAT(points, ElementsAre(4, 0, 4, 4));
}

TEST(Combine, ManyClassesAreRankedAsFewAre) {
  // Above 32 classes Borda sorts; every class beyond the first 32 is lowest and tied.
  std::vector<float> few = {.3F, .1F, .3F, .05F, .25F}, many(40, 0.0F);
  std::copy(few.begin(), few.end(), many.begin());
  const double weight[] = {1};
  std::vector<double> a(5), b(40);
  const float *row_a[] = {few.data()}, *row_b[] = {many.data()};
  borda_points(row_a, weight, 5, a);
  borda_points(row_b, weight, 40, b);
  for (size_t c = 0; c < 5; ++c) EXPECT_EQ(b[c], a[c] + 35) << c;
  EXPECT_EQ(b[20], 17);
}

TEST(Combine, EqualsNumpyScipyAndScikitLearn) {
  const Golden g;
  const auto members = g.members();
  for (const auto& [name, expected] : g.json.at("rules").items()) {
    const Rule rule = parse_rule(expected.at("rule").get<std::string>());
    const auto weights = expected.at("weights").get<std::vector<double>>();
    const Combined c = combine(members, {.rule = rule, .weights = weights, .threads = 2});
    const auto p = expected.at("probability").get<std::vector<double>>();
    ASSERT_EQ(p.size(), c.probability.size());
    for (size_t i = 0; i < p.size(); ++i) ASSERT_NEAR(c.probability[i], p[i], 2e-6) << name << ' ' << i;
    EXPECT_EQ(c.label, expected.at("label").get<std::vector<int32_t>>()) << name;
  }
}

class CombineRule : public testing::TestWithParam<Rule> {
 protected:
  Combined run(std::span<const Predictions> members, std::vector<double> weights = {}, int threads = 1) const {
    return combine(members, {.rule = GetParam(), .weights = std::move(weights), .threads = threads});
  }
  static void expect_close(const Combined& a, const Combined& b) {
    ASSERT_EQ(a.probability.size(), b.probability.size());
    for (size_t i = 0; i < a.probability.size(); ++i) ASSERT_NEAR(a.probability[i], b.probability[i], 1e-6) << i;
    EXPECT_EQ(a.label, b.label);
  }
};

TEST_P(CombineRule, TheOrderOfMembersDoesNotMatter) {
  const Golden g;
  auto members = g.members();
  const Combined a = run(members);
  std::ranges::reverse(members);
  expect_close(a, run(members));
}

TEST_P(CombineRule, TheOrderOfClassesDoesNotMatter) {
  // No two scores are equal: inside a member the lowest id is first, on either side.
  std::vector<std::vector<float>> data;
  for (uint64_t m = 0; m < 6; ++m) data.push_back(normal_floats(m, 300 * 5));
  std::vector<Predictions> members;
  for (const auto& d : data) members.push_back({d.data(), 300, 5, true});
  const Combined a = run(members);
  std::vector<std::vector<float>> turned;
  std::vector<Predictions> others;
  const int32_t k = members[0].k;
  for (const Predictions& m : members) {
    turned.emplace_back(m.scores, m.scores + m.n * k);
    for (int64_t i = 0; i < m.n; ++i) std::reverse(turned.back().begin() + i * k, turned.back().begin() + (i + 1) * k);
    others.push_back({turned.back().data(), m.n, k, m.is_logit});
  }
  const Combined b = run(others);
  for (int64_t i = 0; i < members[0].n; ++i) {
    if (a.tie_level[i] == 2) continue;
    ASSERT_EQ(a.label[i], k - 1 - b.label[i]) << i;
    for (int32_t c = 0; c < k; ++c) ASSERT_NEAR(a.probability[i * k + c], b.probability[i * k + k - 1 - c], 1e-6) << i;
  }
}

TEST_P(CombineRule, OneMemberIsItself) {
  const Golden g;
  const auto members = g.members();
  for (const Predictions& m : members) {
    const Combined a = run(std::span(&m, 1));
    EXPECT_EQ(a.label, top_classes(m));
    if (GetParam() == Rule::mean_probability || GetParam() == Rule::median || GetParam() == Rule::trimmed_mean) {
      const auto p = probabilities(m);
      for (size_t i = 0; i < p.size(); ++i) ASSERT_NEAR(a.probability[i], p[i], 1e-6);
    }
  }
}

TEST_P(CombineRule, EveryMemberTwiceChangesNothing) {
  const Golden g;
  auto members = g.members();
  const Combined a = run(members);
  const auto once = members;
  members.insert(members.end(), once.begin(), once.end());
  if (GetParam() == Rule::trimmed_mean) return;  // cuts more of more
  expect_close(a, run(members));
}

TEST_P(CombineRule, WeightZeroIsAbsence) {
  if (!takes_weights(GetParam())) return;
  const Golden g;
  auto members = g.members();
  const std::vector<float> nan(static_cast<size_t>(members[0].n * members[0].k), std::numeric_limits<float>::quiet_NaN());
  const Combined a = run(members);
  std::vector<double> weights(members.size() + 1, 1.0);
  members.insert(members.begin() + 2, {nan.data(), members[0].n, members[0].k, true});
  weights[2] = 0;
  const Combined b = run(members, weights);
  EXPECT_EQ(a.probability, b.probability);
  EXPECT_EQ(a.label, b.label);
  EXPECT_EQ(a.tie_level, b.tie_level);
}

TEST_P(CombineRule, WeightTwoIsTwice) {
  if (!takes_weights(GetParam())) return;
  const Golden g;
  auto members = g.members();
  std::vector<double> weights(members.size(), 1.0);
  weights[1] = 2;
  const Combined a = run(members, weights);
  members.push_back(members[1]);
  expect_close(a, run(members));
}

TEST_P(CombineRule, AnyNumberOfThreadsGivesTheSameBits) {
  std::vector<std::vector<float>> data;
  std::vector<Predictions> members;
  for (uint64_t m = 0; m < 7; ++m) data.push_back(normal_floats(m, 9000 * 3, 2));
  for (const auto& d : data) members.push_back({d.data(), 9000, 3, true});
  const Combined a = run(members, {}, 1);
  for (const int threads : {2, 4}) {
    const Combined b = run(members, {}, threads);
    EXPECT_EQ(a.probability, b.probability);
    EXPECT_EQ(a.label, b.label);
  }
  // A part of the rows gives that part's bits.
  std::vector<Predictions> part;
  for (const auto& d : data) part.push_back({d.data() + 3 * 1001, 500, 3, true});
  const Combined c = run(part);
  EXPECT_TRUE(std::equal(c.probability.begin(), c.probability.end(), a.probability.begin() + 3 * 1001));
}

TEST_P(CombineRule, RowsSumToOneWhateverTheMembersSay) {
  for (const int32_t k : {1, 2, 40}) {
    for (const int64_t n : {0, 1, 5}) {
      std::vector<float> one_hot(static_cast<size_t>(n * k), 0.0F), logits = normal_floats(3, static_cast<size_t>(n * k), 100);
      for (int64_t i = 0; i < n; ++i) one_hot[static_cast<size_t>(i * k + i % k)] = 1;
      const std::vector<Predictions> members = {{one_hot.data(), n, k, false}, {logits.data(), n, k, true}};
      const Combined c = run(members);
      EXPECT_EQ(c.size(), n);
      for (int64_t i = 0; i < n; ++i) {
        double sum = 0;
        for (int32_t j = 0; j < k; ++j) sum += c.probability[static_cast<size_t>(i * k + j)];
        EXPECT_NEAR(sum, 1, 1e-5) << k;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, CombineRule, testing::ValuesIn(all_rules().begin(), all_rules().end()),
                         [](const auto& rule) { return std::string(to_string(rule.param)); });

TEST(Combine, MemberTemperatureComesFirst) {
  const std::vector<float> z = {2, 0, 1, -1, 3, 0}, cold = {4, 0, 2, -2, 6, 0};
  const std::vector<Predictions> a = {{z.data(), 2, 3, true}}, b = {{cold.data(), 2, 3, true}};
  for (const Rule rule : {Rule::mean_probability, Rule::mean_logit, Rule::median}) {
    const Combined x = combine(a, {.rule = rule}), y = combine(b, {.rule = rule, .member_temperature = {2}});
    for (size_t i = 0; i < z.size(); ++i) EXPECT_NEAR(x.probability[i], y.probability[i], 1e-6);
  }
}

TEST(Combine, ErrorsAreOneClearLine) {
  const std::vector<float> z(12, 0.25F);
  const auto refuse = [](auto&& call, const char* text) {
    EXPECT_THAT(call, ThrowsMessage<std::invalid_argument>(HasSubstr(text)));
  };
  const std::vector<Predictions> uneven = {{z.data(), 3, 4, false}, {z.data(), 3, 4, false}, {z.data(), 2, 4, false}};
  const std::vector<Predictions> even(5, {z.data(), 3, 4, false});
  refuse([&] { combine({}); }, "[combine] at least one member is required, got none");
  refuse([&] { combine(uneven); }, "[combine] members must have equal rows and classes, got 3x4 and 2x4 (member 2)");
  refuse([&] { combine(even, {.weights = {1, 1, 1, 1}}); }, "[combine] weights must be >= 0, sum > 0, one per member, got 4 for 5");
  refuse([&] { combine(even, {.weights = {1, 1, 1, 1, -1}}); }, "[combine] weights must be >= 0, sum > 0, one per member");
  refuse([&] { combine(even, {.weights = {0, 0, 0, 0, 0}}); }, "[combine] weights must be >= 0, sum > 0, one per member, got a sum of 0");
  refuse([&] { combine(even, {.rule = Rule::median, .weights = {1, 1, 1, 1, 1}}); }, "[combine] median takes no weights");
  refuse([&] { combine(even, {.member_temperature = {1, 1, 0, 1, 1}}); }, "temperature must be > 0, got 0 for member 2");
  refuse([] { parse_rule("mean_logits"); }, "did you mean \"mean_logit\"?");

  std::vector<float> bad(200, 0.0F), low(200, 0.041F);
  bad[17 * 10 + 4] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> good(200, 0.1F);
  for (const Rule rule : all_rules()) {
    std::vector<Predictions> members(3, {good.data(), 20, 10, true});
    members[2].scores = bad.data();
    refuse([&] { combine(members, {.rule = rule}); }, "[combine] scores must be finite, got nan at row 17, class 4 of member 2");
    members = std::vector<Predictions>(3, {good.data(), 20, 10, false});
    members[1].scores = low.data();
    refuse([&] { combine(members, {.rule = rule}); }, "[combine] rows must sum to 1, got 0.41 at row 0 of member 1 (logits?)");
  }
}

}  // namespace
}  // namespace ballast
