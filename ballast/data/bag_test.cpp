#include <ballast/data/bag.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace ballast {
namespace {

struct Rows {
  std::vector<int64_t> labels, groups;
};
Rows made_up(int64_t n, int64_t classes) {
  Rows r;
  for (int64_t i = 0; i < n; ++i) {
    r.labels.push_back(i * i % classes);
    r.groups.push_back(i);
  }
  return r;
}

std::string error_of(const char* text) {
  try {
    parse_bag(text);
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "";
}

TEST(Bag, TextsAreReadAndWrongOnesNamed) {
  EXPECT_EQ(parse_bag("none").kind, Bag::Kind::none);
  EXPECT_EQ(parse_bag("bootstrap").kind, Bag::Kind::bootstrap);
  EXPECT_EQ(parse_bag("subset:0.8").share, 0.8);
  EXPECT_EQ(parse_bag("fold:2/5").fold, 2);
  EXPECT_EQ(parse_bag("fold:2/5").folds, 5);
  for (const char* text : {"", "subset:0", "subset:1", "subset:x", "fold:5/5", "fold:-1/5",
                           "fold:0/1", "fold:1", "half", "fold:0/5x"}) {
    EXPECT_EQ(error_of(text),
              "[bag] bag must be none, bootstrap, subset:S with 0 < S < 1 or fold:I/K with 0 <= I "
              "< K and K >= 2, got \"" +
                  std::string(text) + "\"");
  }
}

TEST(Bag, BootstrapDrawsAsManyAndLeavesOutTheShareOfTheBinomial) {
  const Rows r = made_up(10'000, 7);
  const BagParts bag = draw_bag(parse_bag("bootstrap"), r.labels, r.groups, Key(3), Key(0));
  ASSERT_EQ(bag.train.size(), 10'000U);
  EXPECT_TRUE(std::is_sorted(bag.train.begin(), bag.train.end()));
  const double share =
      static_cast<double>(std::set<int64_t>(bag.train.begin(), bag.train.end()).size()) / 1e4;
  // Each picture is missed with probability (1 - 1/n)^n; five standard errors of the share of
  // distinct ones.
  EXPECT_NEAR(share, 1 - std::exp(-1.0),
              5 * std::sqrt(std::exp(-1.0) * (1 - 2 * std::exp(-1.0)) / 1e4));
  EXPECT_EQ(draw_bag(parse_bag("bootstrap"), r.labels, r.groups, Key(3), Key(9)).train, bag.train);
  EXPECT_NE(draw_bag(parse_bag("bootstrap"), r.labels, r.groups, Key(4), Key(0)).train, bag.train);
}

TEST(Bag, SubsetKeepsTheSharesOfTheClasses) {
  const Rows r = made_up(1000, 4);
  const BagParts bag = draw_bag(parse_bag("subset:0.8"), r.labels, r.groups, Key(3), Key(0));
  ASSERT_EQ(bag.train.size(), 800U);
  int64_t zeros = 0;
  for (const int64_t i : bag.train) zeros += r.labels[static_cast<size_t>(i)] == 0;
  EXPECT_EQ(zeros, std::llround(
                       0.8 * static_cast<double>(std::count(r.labels.begin(), r.labels.end(), 0))));
}

TEST(Bag, FoldsPartEveryPictureOnceAndKeepGroupsAndSharesForEveryMember) {
  Rows r = made_up(503, 3);
  for (size_t i = 0; i < 100; ++i) r.groups[i] = static_cast<int64_t>(i / 4 * 4);
  std::vector<int> seen(503);
  std::vector<int64_t> fold_of(503);
  for (int64_t f = 0; f < 5; ++f) {
    const Bag bag{.kind = Bag::Kind::fold, .share = 1, .fold = f, .folds = 5};
    const BagParts parts = draw_bag(bag, r.labels, r.groups, Key(static_cast<uint64_t>(f)), Key(7));
    EXPECT_EQ(parts.train.size() + parts.left_out.size(), 503U);
    EXPECT_NEAR(static_cast<double>(parts.left_out.size()), 503.0 / 5, 4);
    for (const int64_t i : parts.left_out) {
      ++seen[static_cast<size_t>(i)];
      fold_of[static_cast<size_t>(i)] = f;
    }
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), 503);
  for (size_t i = 0; i < 100; ++i) EXPECT_EQ(fold_of[i], fold_of[i / 4 * 4]) << i;
  EXPECT_THROW(draw_bag(parse_bag("fold:0/5"), std::vector<int64_t>(4), std::vector<int64_t>(4),
                        Key(0), Key(0)),
               std::invalid_argument);
}

}  // namespace
}  // namespace ballast
