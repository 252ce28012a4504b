#include <ballast/data/split.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <stdexcept>

namespace ballast {
namespace {

std::vector<int64_t> numbers(size_t n) {
  std::vector<int64_t> v(n);
  std::iota(v.begin(), v.end(), 0);
  return v;
}

/// 100 of class 0, 25 of class 1, 3 of class 2.
std::vector<int64_t> labels() {
  std::vector<int64_t> v(100, 0);
  v.insert(v.end(), 25, 1);
  v.insert(v.end(), 3, 2);
  return v;
}

std::map<int64_t, int64_t> counts(const std::vector<int64_t>& positions,
                                  const std::vector<int64_t>& of) {
  std::map<int64_t, int64_t> c;
  for (const int64_t p : positions) {
    ++c[of[static_cast<size_t>(p)]];
  }
  return c;
}

using Counts = std::map<int64_t, int64_t>;

TEST(Split, TakesRoundedSharesOfEachClass) {
  const auto l = labels();
  const SplitParts parts = split_stratified(l, numbers(l.size()), 0.1, 0.2, Key(1));
  EXPECT_EQ(counts(parts.val, l), (Counts{{0, 10}, {1, 2}}));  // 2.5 rounds to even, 0.3 to 0
  EXPECT_EQ(counts(parts.test, l), (Counts{{0, 20}, {1, 5}, {2, 1}}));
  EXPECT_EQ(counts(parts.rest, l), (Counts{{0, 70}, {1, 18}, {2, 2}}));
  std::vector<int64_t> all = parts.rest;
  all.insert(all.end(), parts.val.begin(), parts.val.end());
  all.insert(all.end(), parts.test.begin(), parts.test.end());
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, numbers(l.size()));
  EXPECT_TRUE(std::is_sorted(parts.val.begin(), parts.val.end()));
}

TEST(Split, DependsOnTheKeyAlone) {
  const auto l = labels();
  const auto groups = numbers(l.size());
  EXPECT_EQ(split_stratified(l, groups, 0.1, 0.1, Key(1)).val,
            split_stratified(l, groups, 0.1, 0.1, Key(1)).val);
  EXPECT_NE(split_stratified(l, groups, 0.1, 0.1, Key(1)).val,
            split_stratified(l, groups, 0.1, 0.1, Key(2)).val);
}

TEST(Split, ValDoesNotDependOnTheShareOfTest) {
  const auto l = labels();
  const auto groups = numbers(l.size());
  EXPECT_EQ(split_stratified(l, groups, 0.1, 0.0, Key(1)).val,
            split_stratified(l, groups, 0.1, 0.3, Key(1)).val);
}

TEST(Split, GroupsStayTogether) {
  const auto l = labels();
  std::vector<int64_t> groups = numbers(l.size());
  for (size_t i = 0; i < 120; ++i) {
    groups[i] = static_cast<int64_t>(i) / 4;  // group 25 spans classes 0 and 1
  }
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const SplitParts parts = split_stratified(l, groups, 0.2, 0.2, Key(seed));
    std::map<int64_t, std::set<int>> where;
    int part = 0;
    for (const auto* list : {&parts.rest, &parts.val, &parts.test}) {
      for (const int64_t p : *list) {
        where[groups[static_cast<size_t>(p)]].insert(part);
      }
      ++part;
    }
    for (const auto& [group, in] : where) {
      EXPECT_EQ(in.size(), 1u) << group;
    }
    EXPECT_NEAR(static_cast<double>(counts(parts.val, l)[0]), 20.0, 3.0);
  }
}

TEST(Split, RefusesWrongShares) {
  const auto l = labels();
  const auto groups = numbers(l.size());
  EXPECT_THROW(split_stratified(l, groups, -0.1, 0.0, Key()), std::invalid_argument);
  EXPECT_THROW(split_stratified(l, groups, 0.5, 0.5, Key()), std::invalid_argument);
}

TEST(Limit, KeepsSharesAndAtLeastOneOfEachClass) {
  const auto l = labels();
  const auto some = limit_stratified(l, 13, Key(1));
  EXPECT_EQ(counts(some, l), (Counts{{0, 10}, {1, 2}, {2, 1}}));
  EXPECT_TRUE(std::is_sorted(some.begin(), some.end()));
  EXPECT_EQ(counts(limit_stratified(l, 3, Key(1)), l), (Counts{{0, 1}, {1, 1}, {2, 1}}));
  for (int64_t limit = 3; limit <= 128; ++limit) {
    EXPECT_EQ(limit_stratified(l, limit, Key(1)).size(), static_cast<size_t>(limit));
  }
  EXPECT_EQ(limit_stratified(l, 1000, Key(1)), numbers(l.size()));
}

TEST(Limit, IsKeyed) {
  const auto l = labels();
  EXPECT_EQ(limit_stratified(l, 20, Key(1)), limit_stratified(l, 20, Key(1)));
  EXPECT_NE(limit_stratified(l, 20, Key(1)), limit_stratified(l, 20, Key(2)));
}

TEST(Limit, RefusesLessThanOneAClass) {
  EXPECT_THROW(limit_stratified(labels(), 2, Key()), std::invalid_argument);
}

}  // namespace
}  // namespace ballast
