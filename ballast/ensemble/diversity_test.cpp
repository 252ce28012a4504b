#include <ballast/ensemble/diversity.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include <ballast/ensemble/test_golden.h>

namespace ballast {
namespace {

TEST(Diversity, PairByHand) {
  const PairDiversity p{.n11 = 5, .n10 = 2, .n01 = 1, .n00 = 2};
  EXPECT_DOUBLE_EQ(p.disagreement(), .3);
  EXPECT_DOUBLE_EQ(p.q(), 2 / 3.0);
  EXPECT_DOUBLE_EQ(p.double_fault(), .2);
  EXPECT_DOUBLE_EQ(p.kappa(), 16 / 46.0);
  EXPECT_EQ(PairDiversity{}.q(), 0);
  EXPECT_EQ(PairDiversity{}.kappa(), 0);
  EXPECT_EQ((PairDiversity{.n11 = 9}).q(), 0);
}

TEST(Diversity, CountsEveryRowOnce) {
  for (size_t n : {0, 1, 63, 64, 65, 200}) {
    std::vector<std::vector<uint8_t>> right(3, std::vector<uint8_t>(n));
    for (size_t m = 0; m < 3; ++m) {
      for (size_t i = 0; i < n; ++i) right[m][i] = event(Key(m), i, 0.6);
    }
    const auto pairs = pair_counts(right, 2);
    ASSERT_EQ(pairs.size(), 3);
    for (const PairDiversity& p : pairs) {
      int64_t n11 = 0, n10 = 0, n01 = 0, n00 = 0;
      for (size_t i = 0; i < n; ++i) {
        const bool a = right[static_cast<size_t>(p.i)][i] != 0, b = right[static_cast<size_t>(p.j)][i] != 0;
        ++(a && b ? n11 : a ? n10 : b ? n01 : n00);
      }
      EXPECT_EQ(p.n11, n11);
      EXPECT_EQ(p.n10, n10);
      EXPECT_EQ(p.n01, n01);
      EXPECT_EQ(p.n00, n00);
    }
  }
}

TEST(Diversity, EqualsScipyAndScikitLearn) {
  const Golden g;
  const auto members = g.members();
  const Diversity d = diversity(members, g.label, 2);
  const auto& e = g.json.at("diversity");
  ASSERT_EQ(d.pairs.size(), e.at("pairs").size());
  for (size_t i = 0; i < d.pairs.size(); ++i) {
    const auto& pair = e.at("pairs")[i];
    EXPECT_EQ(d.pairs[i].i, pair.at("i").get<int>());
    EXPECT_EQ(d.pairs[i].j, pair.at("j").get<int>());
    EXPECT_NEAR(d.pairs[i].disagreement(), pair.at("disagreement").get<double>(), 1e-12);
    EXPECT_NEAR(d.pairs[i].q(), pair.at("q").get<double>(), 1e-12);
    EXPECT_NEAR(d.pairs[i].double_fault(), pair.at("double_fault").get<double>(), 1e-12);
    EXPECT_NEAR(d.pairs[i].kappa(), pair.at("kappa").get<double>(), 1e-12);
    EXPECT_NEAR(jensen_shannon(members[static_cast<size_t>(d.pairs[i].i)], members[static_cast<size_t>(d.pairs[i].j)]),
                pair.at("js").get<double>(), 1e-12);
  }
  EXPECT_NEAR(d.kohavi_wolpert, e.at("kohavi_wolpert").get<double>(), 1e-12);
  EXPECT_NEAR(d.mutual_information, e.at("mutual_information").get<double>(), 1e-12);
}

TEST(Diversity, Identities) {
  const Golden g;
  const Diversity d = diversity(g.members(), g.label);
  const double m = 6;
  EXPECT_NEAR(d.kohavi_wolpert, (m - 1) / (2 * m) * d.mean_disagreement, 1e-12);
  EXPECT_NEAR(d.brier_of_mean, d.mean_brier - d.ambiguity, 1e-12);
  EXPECT_NEAR(d.nll_of_geometric, d.mean_nll - d.log_ambiguity, 1e-12);
  EXPECT_GT(d.ambiguity, 0);
  EXPECT_GT(d.log_ambiguity, 0);
  const Diversity one = diversity(g.members(), g.label, 1);
  EXPECT_EQ(d.mutual_information, one.mutual_information);
}

TEST(Diversity, InformationOfRows) {
  const Golden g;
  const auto rows = row_information(g.members(), 2);
  double sum = 0;
  for (const double x : rows) sum += x / static_cast<double>(rows.size());
  EXPECT_NEAR(sum, diversity(g.members(), g.label).mutual_information, 1e-12);
  EXPECT_EQ(rows, row_information(g.members(), 1));
  // Two sure members of two opinions: log 2. Of one opinion: 0.
  const std::vector<float> a = {50, 0, 50, 0}, b = {0, 50, 50, 0};
  const std::vector<Predictions> two = {{a.data(), 2, 2, true}, {b.data(), 2, 2, true}};
  EXPECT_NEAR(row_information(two)[0], std::log(2.0), 1e-12);
  EXPECT_NEAR(row_information(two)[1], 0, 1e-12);
}

TEST(Diversity, IdenticalMembersAreFoundAndAddNothing) {
  const Golden g;
  auto members = g.members();
  EXPECT_TRUE(identical_pairs(members).empty());
  const std::vector<float> copy = g.data[2];
  members.push_back({copy.data(), members[0].n, members[0].k, true});
  const auto same = identical_pairs(members);
  ASSERT_EQ(same.size(), 1);
  EXPECT_EQ(same[0].i, 2);
  EXPECT_EQ(same[0].j, 6);
  const std::vector<Predictions> twice = {members[2], members[6]};
  const Diversity d = diversity(twice, g.label);
  EXPECT_EQ(d.mean_disagreement, 0);
  EXPECT_NEAR(d.ambiguity, 0, 1e-15);
  EXPECT_NEAR(d.mutual_information, 0, 1e-12);
  EXPECT_EQ(d.group_kappa, 1);
}

}  // namespace
}  // namespace ballast
