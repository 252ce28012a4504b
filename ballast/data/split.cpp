#include <ballast/base/check.h>
#include <ballast/data/split.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_map>

namespace ballast {
namespace {

std::map<int64_t, std::vector<int64_t>> by_class(std::span<const int64_t> labels) {
  std::map<int64_t, std::vector<int64_t>> members;
  for (size_t i = 0; i < labels.size(); ++i) {
    members[labels[i]].push_back(static_cast<int64_t>(i));
  }
  return members;
}

/// The class's pictures in its keyed order.
std::vector<int64_t> ordered(const std::vector<int64_t>& members, Key key, int64_t label) {
  const Permutation order(key.fold_in(static_cast<uint64_t>(label)), members.size());
  std::vector<int64_t> result;
  result.reserve(members.size());
  for (uint64_t i = 0; i < members.size(); ++i) {
    result.push_back(members[order(i)]);
  }
  return result;
}

}  // namespace

SplitParts split_stratified(std::span<const int64_t> labels, std::span<const int64_t> groups,
                            double val, double test, Key key) {
  check(val >= 0 && test >= 0 && val + test < 1, "split",
        "shares must be >= 0 and sum to less than 1, got val ", val, " and test ", test);
  check(labels.size() == groups.size(), "split", "there must be a group for each label");
  enum Part : uint8_t { none, to_val, to_test, to_rest };
  std::vector<Part> part(labels.size(), none);
  std::unordered_map<int64_t, std::vector<int64_t>> group_members;
  for (size_t i = 0; i < groups.size(); ++i) {
    group_members[groups[i]].push_back(static_cast<int64_t>(i));
  }
  for (const auto& [label, members] : by_class(labels)) {
    const auto n = static_cast<double>(members.size());
    const auto for_val = static_cast<int64_t>(std::nearbyint(val * n));
    const auto for_test = static_cast<int64_t>(std::nearbyint(test * n));
    int64_t in_val = 0;
    int64_t in_test = 0;
    for (const int64_t i : members) {  // those that a group of an earlier class has taken along
      in_val += part[i] == to_val;
      in_test += part[i] == to_test;
    }
    for (const int64_t i : ordered(members, key, label)) {
      if (part[i] != none) {
        continue;
      }
      const Part to = in_val < for_val ? to_val : in_test < for_test ? to_test : to_rest;
      for (const int64_t j : group_members[groups[i]]) {
        part[j] = to;
        if (labels[j] == label) {
          in_val += to == to_val;
          in_test += to == to_test;
        }
      }
    }
  }
  SplitParts result;
  for (size_t i = 0; i < part.size(); ++i) {
    auto& list = part[i] == to_val ? result.val : part[i] == to_test ? result.test : result.rest;
    list.push_back(static_cast<int64_t>(i));
  }
  return result;
}

std::vector<int64_t> limit_stratified(std::span<const int64_t> labels, int64_t limit, Key key) {
  const auto n = static_cast<int64_t>(labels.size());
  std::vector<int64_t> result;
  if (n <= limit) {
    for (int64_t i = 0; i < n; ++i) {
      result.push_back(i);
    }
    return result;
  }
  const auto classes = by_class(labels);
  check(limit >= static_cast<int64_t>(classes.size()), "data",
        "limit must be at least one picture a class (", classes.size(), "), got ", limit);
  struct Quota {
    int64_t label, take, remainder;
  };
  std::vector<Quota> quotas;
  int64_t left = limit;
  for (const auto& [label, members] : classes) {
    const auto size = static_cast<int64_t>(members.size());
    const int64_t take = std::max<int64_t>(1, size * limit / n);
    quotas.push_back({label, take, size * limit / n == 0 ? 0 : size * limit % n});
    left -= take;
  }
  std::vector<size_t> rank(quotas.size());
  for (size_t i = 0; i < rank.size(); ++i) {
    rank[i] = i;
  }
  std::stable_sort(rank.begin(), rank.end(),
                   [&](size_t a, size_t b) { return quotas[a].remainder > quotas[b].remainder; });
  for (size_t r = 0; left > 0; r = (r + 1) % rank.size()) {
    Quota& quota = quotas[rank[r]];
    if (quota.take < static_cast<int64_t>(classes.at(quota.label).size())) {
      ++quota.take;
      --left;
    }
  }
  // The guaranteed single pictures may have cost too much: the largest classes pay.
  while (left < 0) {
    auto largest = std::max_element(quotas.begin(), quotas.end(),
                                    [](const Quota& a, const Quota& b) { return a.take < b.take; });
    --largest->take;
    ++left;
  }
  for (const Quota& quota : quotas) {
    const auto order = ordered(classes.at(quota.label), key, quota.label);
    result.insert(result.end(), order.begin(), order.begin() + quota.take);
  }
  std::sort(result.begin(), result.end());
  return result;
}

}  // namespace ballast
