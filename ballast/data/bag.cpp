#include <ballast/base/check.h>
#include <ballast/data/bag.h>
#include <ballast/data/split.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <unordered_map>

namespace ballast {
namespace {

template <class T>
bool read_number(std::string_view text, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

std::vector<int64_t> fold_numbers(int64_t folds, std::span<const int64_t> labels,
                                  std::span<const int64_t> groups, Key key) {
  std::unordered_map<int64_t, std::vector<size_t>> members;
  std::map<int64_t, std::vector<size_t>> classes;
  for (size_t i = 0; i < labels.size(); ++i) {
    members[groups[i]].push_back(i);
    classes[labels[i]].push_back(i);
  }
  std::vector<int64_t> fold(labels.size(), -1);
  int64_t next = 0;  // the remainders of all classes together fill the folds evenly
  for (const auto& [label, rows] : classes) {
    std::vector<int64_t> count(static_cast<size_t>(folds));
    for (const size_t i : rows) {
      if (fold[i] >= 0) ++count[static_cast<size_t>(fold[i])];
    }
    const Permutation order(key.fold_in(static_cast<uint64_t>(label)), rows.size());
    for (uint64_t j = 0; j < rows.size(); ++j) {
      const size_t i = rows[order(j)];
      if (fold[i] >= 0) continue;
      int64_t to = next % folds;
      for (int64_t step = 1; step < folds; ++step) {
        const int64_t f = (next + step) % folds;
        if (count[static_cast<size_t>(f)] < count[static_cast<size_t>(to)]) to = f;
      }
      for (const size_t other : members[groups[i]]) {
        fold[other] = to;
        if (labels[other] == label) ++count[static_cast<size_t>(to)];
      }
      next = to + 1;
    }
  }
  return fold;
}

}  // namespace

Bag parse_bag(std::string_view text) {
  Bag bag;
  if (text == "none") return bag;
  if (text == "bootstrap") {
    bag.kind = Bag::Kind::bootstrap;
    return bag;
  }
  if (text.starts_with("subset:")) {
    bag.kind = Bag::Kind::subset;
    if (read_number(text.substr(7), bag.share) && bag.share > 0 && bag.share < 1) return bag;
  }
  if (const size_t slash = text.find('/');
      text.starts_with("fold:") && slash != std::string_view::npos) {
    bag.kind = Bag::Kind::fold;
    if (read_number(text.substr(5, slash - 5), bag.fold) &&
        read_number(text.substr(slash + 1), bag.folds) && bag.folds >= 2 && bag.fold >= 0 &&
        bag.fold < bag.folds) {
      return bag;
    }
  }
  fail("bag",
       "bag must be none, bootstrap, subset:S with 0 < S < 1 or fold:I/K with 0 <= I < K and K >= "
       "2, got \"",
       text, "\"");
}

BagParts draw_bag(const Bag& bag, std::span<const int64_t> labels, std::span<const int64_t> groups,
                  Key key, Key folds_key) {
  check(labels.size() == groups.size(), "bag", "there must be a group for each label, got ",
        groups.size(), " for ", labels.size());
  const auto n = static_cast<int64_t>(labels.size());
  BagParts out;
  switch (bag.kind) {
    case Bag::Kind::none:
      for (int64_t i = 0; i < n; ++i) out.train.push_back(i);
      break;
    case Bag::Kind::bootstrap:
      for (int64_t i = 0; i < n; ++i) {
        out.train.push_back(static_cast<int64_t>(
            slot_below(key, 0, static_cast<uint64_t>(n), 0, static_cast<uint64_t>(i))));
      }
      std::sort(out.train.begin(), out.train.end());
      break;
    case Bag::Kind::subset:
      out.train = limit_stratified(
          labels, std::max<int64_t>(1, std::llround(bag.share * static_cast<double>(n))), key);
      break;
    case Bag::Kind::fold: {
      check(n >= bag.folds, "bag", "folds must be at most the pictures (", n, "), got ", bag.folds);
      const std::vector<int64_t> fold = fold_numbers(bag.folds, labels, groups, folds_key);
      for (int64_t i = 0; i < n; ++i) {
        (fold[static_cast<size_t>(i)] == bag.fold ? out.left_out : out.train).push_back(i);
      }
      break;
    }
  }
  return out;
}

}  // namespace ballast
