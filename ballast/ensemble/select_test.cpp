#include <ballast/ensemble/select.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cmath>

#include <ballast/ensemble/combine.h>
#include <ballast/ensemble/select_kernel.h>
#include <ballast/ensemble/test_golden.h>
#include <ballast/ensemble/weights.h>

namespace ballast {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(SelectKernel, EqualsTheReferenceBitForBitOnEveryTarget) {
  for (int64_t targets = hwy::SupportedTargets(); targets != 0; targets &= targets - 1) {
    hwy::SetSupportedTargetsForTest(targets & -targets);
    for (size_t n = 0; n <= 300; n += n < 67 ? 1 : 29) {
      std::vector<double> s(n + 1);
      fill_uniform(Key(n), 0, s);
      std::vector<float> p(n + 1);
      for (size_t i = 0; i < n; ++i) p[i] = i % 7 == 0 ? 1e-30F : static_cast<float>(uniform(Key(5), i));
      for (size_t i = 0; i < n; ++i) s[i] = i % 7 == 0 ? 0 : s[i];
      const double sum = sum_log(s.data(), p.data(), 1, n);
      ASSERT_EQ(sum, sum_log_reference(s.data(), p.data(), 1, n)) << hwy::TargetName(targets & -targets) << ' ' << n;
      double expected = 0;
      for (size_t i = 0; i < n; ++i) expected += std::log(s[i] + static_cast<double>(p[i]));
      ASSERT_NEAR(sum, expected, 1e-12 * (1 + std::abs(expected)));
    }
  }
  hwy::SetSupportedTargetsForTest(0);
}

/// Case B: p(y) of three members on three rows, the rest of equal shares, so that second losses are equal.
struct CaseB {
  std::vector<std::vector<float>> p;
  std::vector<int32_t> label = {0, 0, 0};
  std::vector<Predictions> members;
  CaseB() {
    for (const auto& own : {std::array{.9F, .9F, .1F}, std::array{.1F, .9F, .9F}, std::array{.5F, .5F, .5F}}) {
      p.emplace_back();
      for (const float x : own) p.back().insert(p.back().end(), {x, 1 - x});
    }
    for (const auto& m : p) members.push_back({m.data(), 3, 2, false});
  }
};

TEST(Select, GreedyByHand) {
  const CaseB b;
  const Greedy eight = greedy_select(b.members, b.label, {.rounds = 8, .threads = 1});
  EXPECT_THAT(eight.order, ElementsAre(2, 0, 1, 0, 1, 0, 1, 0));
  const double losses[] = {.693147, .639108, .550666, .550087, .528248, .528851, .519084, .519621};
  for (size_t i = 0; i < 8; ++i) EXPECT_NEAR(eight.loss[i], losses[i], 1e-6) << i;
  EXPECT_EQ(eight.cut, 7);
  EXPECT_THAT(eight.weights, ElementsAre(3 / 7.0, 3 / 7.0, 1 / 7.0));
  EXPECT_NEAR(eight.nll, .519084, 1e-6);
  const Greedy six = greedy_select(b.members, b.label, {.rounds = 6});
  EXPECT_EQ(six.cut, 5);
  EXPECT_THAT(six.weights, ElementsAre(.4, .4, .2));
}

TEST(Select, GreedyEqualsALoopWithLogLoss) {
  const Golden g;
  const Greedy s = greedy_select(g.members(), g.label, {.rounds = 25});
  const auto& e = g.json.at("greedy");
  EXPECT_EQ(s.order, e.at("order").get<std::vector<int32_t>>());
  const auto loss = e.at("loss").get<std::vector<double>>();
  for (size_t i = 0; i < loss.size(); ++i) EXPECT_NEAR(s.loss[i], loss[i], 1e-6);
  const auto weights = e.at("weights").get<std::vector<double>>();
  for (size_t m = 0; m < weights.size(); ++m) EXPECT_NEAR(s.weights[m], weights[m], 1e-12);
}

TEST(Select, OtherLossesAreThoseOfTheMeanProbability) {
  const Golden g;
  for (const SelectionLoss loss : {SelectionLoss::brier, SelectionLoss::error}) {
    const Greedy s = greedy_select(g.members(), g.label, {.loss = loss, .rounds = 10});
    std::vector<double> counts(g.members().size(), 0.0);
    for (size_t r = 0; r < s.order.size(); ++r) {
      counts[static_cast<size_t>(s.order[r])] += 1;
      const Combined c = combine(g.members(), {.weights = counts});
      const Quality q = quality(c.view(), g.label, c.label);
      EXPECT_NEAR(s.loss[r], loss == SelectionLoss::brier ? q.brier : 1 - q.accuracy, 1e-6) << r;
    }
    EXPECT_EQ(s.loss[static_cast<size_t>(s.cut) - 1], *std::ranges::min_element(s.loss));
  }
}

TEST(Select, AMemberThatIsInWinsATie) {
  // Members 1 and 2 are the same: the lower comes in, and stays the one.
  const Golden g;
  std::vector<Predictions> members = {g.members()[0], g.members()[5], g.members()[5]};
  const Greedy s = greedy_select(members, g.label, {.rounds = 12});
  EXPECT_EQ(s.weights[2], 0);
  EXPECT_GT(s.weights[1], 0);
}

TEST(Select, StartAndBags) {
  const Golden g;
  const Greedy s = greedy_select(g.members(), g.label, {.rounds = 10, .start = 3});
  EXPECT_THAT(std::vector<int32_t>(s.order.begin(), s.order.begin() + 3), ElementsAre(5, 4, 3));  // by their own loss
  EXPECT_GE(s.cut, 3);
  const Greedy bags = greedy_select(g.members(), g.label, {.rounds = 10, .bags = 20, .key = Key(3)});
  const Greedy again = greedy_select(g.members(), g.label, {.rounds = 10, .bags = 20, .key = Key(3), .threads = 1});
  EXPECT_EQ(bags.weights, again.weights);
  EXPECT_GT(std::ranges::count_if(bags.weights, [](double w) { return w > 0; }), 2);
}

TEST(Select, ABudgetIsKeptAndRepeatsAreFree) {
  const Golden g;
  const std::vector<double> cost = {1, 1, 1, 1, 5, 5};
  const Greedy s = greedy_select(g.members(), g.label, {.rounds = 20, .cost = cost, .shared_cost = 1, .budget = 4});
  EXPECT_LE(s.cost, 4);
  EXPECT_EQ(s.weights[4], 0);
  EXPECT_EQ(s.weights[5], 0);
  EXPECT_EQ(s.order.size(), 20);
  EXPECT_THAT([&] { greedy_select(g.members(), g.label, {.cost = cost, .shared_cost = 1, .budget = 1.5}); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("[select] budget must allow one member, the cheapest takes 2 ms, got 1.5")));
  EXPECT_THAT([&] { greedy_select(g.members(), g.label, {.budget = 1}); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("[select] a budget needs the members' costs")));
}

TEST(Select, AnyNumberOfThreadsGivesTheSameBits) {
  const Golden g;
  const Greedy a = greedy_select(g.members(), g.label, {.threads = 1}), b = greedy_select(g.members(), g.label, {.threads = 4});
  EXPECT_EQ(a.loss, b.loss);
  EXPECT_EQ(a.order, b.order);
}

TEST(Select, PruningDropsTheLeastUsefulFirst) {
  const Golden g;
  const auto members = g.members();
  const Pruning p = prune(members, g.label, 0.01, Key(1));
  ASSERT_EQ(p.curve.size(), members.size());
  EXPECT_EQ(p.curve[0].dropped, -1);
  EXPECT_EQ(p.curve[0].increase.value, 0);
  // The first dropped is the one without which the NLL is least: brute force.
  double least = 1e9;
  int32_t which = -1;
  for (size_t m = 0; m < members.size(); ++m) {
    std::vector<double> weights(members.size(), 1.0);
    weights[m] = 0;
    const Combined c = combine(members, {.weights = weights});
    const double nll = quality(c.view(), g.label).nll;
    if (nll < least) {
      least = nll;
      which = static_cast<int32_t>(m);
    }
  }
  EXPECT_EQ(p.curve[1].dropped, which);
  EXPECT_NEAR(p.curve[1].nll, least, 1e-6);
  EXPECT_LT(p.kept.size(), members.size());
  EXPECT_EQ(std::ranges::count(p.kept, which), 0);
  EXPECT_EQ(prune(members, g.label, -1, Key(1)).kept.size(), members.size());
}

TEST(Select, WhoCanGo) {
  // Five useful members, one a copy of another, and one that knows nothing.
  const Golden g;
  auto members = g.members();
  std::vector<float> noise = normal_floats(1, g.data[0].size(), 4);
  members.push_back({noise.data(), members[0].n, members[0].k, true});
  const auto go = who_can_go(members, g.label, 0.002, Key(2));
  ASSERT_EQ(go.size(), members.size());
  EXPECT_EQ(go.back().verdict, "harmful");
  EXPECT_LT(go.back().nll.value, 0);
  EXPECT_GE(std::ranges::count(go, "keep", &WithoutMember::verdict), 1);
}

TEST(Weights, EqualSlsqpsOptimumAndKeepTheirCertificate) {
  const Golden g;
  const FittedWeights w = fit_weights(g.members(), g.label);
  const auto& e = g.json.at("weights");
  EXPECT_NEAR(w.nll, e.at("nll").get<double>(), 1.1e-5);
  EXPECT_LE(w.nll, e.at("nll").get<double>() + w.certificate + 1e-9);
  const auto weights = e.at("weights").get<std::vector<double>>();
  for (size_t m = 0; m < weights.size(); ++m) EXPECT_NEAR(w.weights[m], weights[m], 0.02) << m;
  EXPECT_LE(w.certificate, 1e-5);
  EXPECT_LT(w.nll, w.nll_uniform);
  EXPECT_EQ(fit_weights(g.members(), g.label, 1).weights, w.weights);
  EXPECT_THAT([] { fit_weights(std::vector<Predictions>{{nullptr, 0, 3, true}}, {}); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("[weights] at least one row is required")));
}

}  // namespace
}  // namespace ballast
