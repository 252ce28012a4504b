#include <ballast/ensemble/stack.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include <ballast/ensemble/metrics.h>
#include <ballast/ensemble/test_golden.h>

namespace ballast {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Stack, EqualsScikitLearnsLogisticRegression) {
  const Golden g;
  const auto members = g.members();
  for (const auto& e : g.json.at("stacking")) {
    const Stack s = fit_stack(members, g.label, {.form = StackForm::full, .lambda = e.at("lambda").get<double>()});
    EXPECT_NEAR(s.objective, e.at("objective").get<double>(), 1e-7);
    const auto weights = e.at("weights").get<std::vector<double>>();
    ASSERT_EQ(s.weights.size(), weights.size());
    for (size_t i = 0; i < weights.size(); ++i) ASSERT_NEAR(s.weights[i], weights[i], 1e-4) << i;
    const Combined c = apply_stack(s, members);
    const auto p = e.at("probability").get<std::vector<double>>();
    for (size_t i = 0; i < p.size(); ++i) ASSERT_NEAR(c.probability[i], p[i], 1e-4) << i;
  }
}

TEST(Stack, AnyNumberOfThreadsGivesTheSameBits) {
  const Golden g;
  const Stack a = fit_stack(g.members(), g.label, {.lambda = 0.01, .threads = 1}), b = fit_stack(g.members(), g.label, {.lambda = 0.01, .threads = 3});
  EXPECT_EQ(a.weights, b.weights);
  EXPECT_EQ(a.bias, b.bias);
}

TEST(Stack, FewRowsShareAWeightPerMemberAndLambdaIsChosen) {
  const Golden g;
  const auto members = g.members();
  const Stack s = fit_stack(members, g.label);
  EXPECT_EQ(s.form, StackForm::shared);  // 300 < 50 * 6 * 5
  EXPECT_EQ(s.weights.size(), members.size());
  EXPECT_EQ(s.tried.size(), 7);
  for (const auto& [lambda, nll] : s.tried) EXPECT_GE(nll + 1e-12, std::ranges::min_element(s.tried, {}, &std::pair<double, double>::second)->second) << lambda;
  const Combined stacked = apply_stack(s, members), mean = combine(members);
  EXPECT_LT(quality(stacked.view(), g.label).nll, quality(mean.view(), g.label).nll);
  // The best member weighs most.
  EXPECT_EQ(std::ranges::max_element(s.weights) - s.weights.begin(), 5);
}

TEST(Stack, Errors) {
  const Golden g;
  const auto members = g.members();
  const std::vector<int32_t> one(g.label.size(), 2);
  const auto refuse = [](auto&& call, const char* text) { EXPECT_THAT(call, ThrowsMessage<std::invalid_argument>(HasSubstr(text))); };
  refuse([&] { fit_stack(members, one); }, "[stack] labels must be of two classes or more, all are 2");
  refuse([&] { fit_stack(members, g.label, {.lambda = 0.0}); }, "[stack] lambda must be > 0, got 0");
  const Predictions few{members[0].scores, 9, members[0].k, true};
  refuse([&] { fit_stack(std::span(&few, 1), std::span(g.label).first(9)); }, "[stack] at least 10 rows are required, got 9");
  const Stack s = fit_stack(members, g.label, {.lambda = 0.1});
  refuse([&] { apply_stack(s, std::span(members).first(2)); }, "[stack] members must be those of the fit, got 2 of 5 classes for 6 of 5");
}

}  // namespace
}  // namespace ballast
