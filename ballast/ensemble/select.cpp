#include <ballast/ensemble/select.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <optional>

#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/base/detmath.h>
#include <ballast/base/thread_pool.h>
#include <ballast/ensemble/combine.h>
#include <ballast/ensemble/select_kernel.h>
#include <ballast/ensemble/weights.h>

namespace ballast {
namespace {

bool equal(double a, double b) { return std::abs(a - b) <= 1e-12 * std::max(std::abs(a), std::abs(b)); }

/// Probabilities of all members, made when something needs more than p(y).
class Table {
 public:
  Table(std::span<const Predictions> members, std::span<const int32_t> label, int threads)
      : members_(members), label_(label), pool_(threads > 0 ? threads : usable_cores()), threads_(threads) {
    own_ = true_class_probabilities(members, label, threads);
    n_ = label.size();
    k_ = static_cast<size_t>(members[0].k);
  }
  size_t size() const { return members_.size(); }
  size_t rows() const { return n_; }
  ThreadPool& pool() { return pool_; }
  const float* own(size_t m) const { return own_.data() + m * n_; }
  const std::vector<float>& whole(size_t m) {
    if (whole_.empty()) {
      whole_.resize(size());
      for (size_t i = 0; i < size(); ++i) whole_[i] = probabilities(members_[i], 1, threads_);
    }
    return whole_[m];
  }
  std::span<const int32_t> label() const { return label_; }
  size_t classes() const { return k_; }

 private:
  std::span<const Predictions> members_;
  std::span<const int32_t> label_;
  ThreadPool pool_;
  int threads_;
  std::vector<float> own_;
  std::vector<std::vector<float>> whole_;
  size_t n_ = 0, k_ = 0;
};

/// The sum of the chosen members' probabilities.
class Bag {
 public:
  Bag(Table& table, SelectionLoss loss) : t_(table), loss_(loss), own_(table.rows(), 0.0), count_(table.size(), 0) {}

  void add(size_t m) {
    const float* p = t_.own(m);
    for (size_t i = 0; i < own_.size(); ++i) own_[i] += static_cast<double>(p[i]);
    if (!sum_.empty()) add_whole(m);
    ++count_[m];
    order_.push_back(m);
  }
  // Before loss() may be called from several threads.
  void prepare(SelectionLoss loss) {
    if (loss == SelectionLoss::nll || !sum_.empty()) return;
    sum_.assign(t_.rows() * t_.classes(), 0.0);
    t_.whole(0);
    for (const size_t m : order_) add_whole(m);
  }
  // The loss with one more of m.
  double loss(size_t m, SelectionLoss which) const {
    const auto r = static_cast<double>(order_.size() + 1), n = static_cast<double>(t_.rows());
    if (which == SelectionLoss::nll) return det_log(r) - sum_log(own_.data(), t_.own(m), 1, own_.size()) / n;
    const size_t k = t_.classes();
    const float* p = t_.whole(m).data();
    double total = 0;
    for (size_t i = 0; i < own_.size(); ++i) {
      const double* s = sum_.data() + i * k;
      const float* q = p + i * k;
      const auto y = static_cast<size_t>(t_.label()[i]);
      if (which == SelectionLoss::error) {
        size_t top = 0;
        for (size_t c = 1; c < k; ++c) {
          if (s[c] + static_cast<double>(q[c]) > s[top] + static_cast<double>(q[top])) top = c;
        }
        total += top != y;
      } else {
        double squares = 0;
        for (size_t c = 0; c < k; ++c) {
          const double x = s[c] + static_cast<double>(q[c]);
          squares += x * x;
        }
        total += squares / (r * r) - 2 * (s[y] + static_cast<double>(q[y])) / r + 1;
      }
    }
    return total / n;
  }

  // The best addition among `allowed`, by the rules of greedy_select().
  std::pair<size_t, double> best(std::span<const size_t> allowed) {
    prepare(loss_);
    std::vector<double> losses(allowed.size());
    t_.pool().run(static_cast<int64_t>(allowed.size()), [&](int64_t i, int) {
      losses[static_cast<size_t>(i)] = loss(allowed[static_cast<size_t>(i)], loss_);
    });
    const double least = *std::ranges::min_element(losses);
    std::vector<size_t> tied;
    for (size_t i = 0; i < allowed.size(); ++i) {
      if (equal(losses[i], least)) tied.push_back(i);
    }
    if (tied.size() > 1 && std::ranges::any_of(tied, [&](size_t i) { return count_[allowed[i]] > 0; })) {
      std::erase_if(tied, [&](size_t i) { return count_[allowed[i]] == 0; });
    }
    size_t chosen = tied[0];
    if (tied.size() > 1) {
      const SelectionLoss second = loss_ == SelectionLoss::nll ? SelectionLoss::brier : SelectionLoss::nll;
      prepare(second);
      double value = loss(allowed[chosen], second);
      for (const size_t i : tied) {
        const double v = loss(allowed[i], second);
        if (v < value && !equal(v, value)) {
          chosen = i;
          value = v;
        }
      }
    }
    return {allowed[chosen], losses[chosen]};
  }
  const std::vector<int>& count() const { return count_; }
  const std::vector<size_t>& order() const { return order_; }

 private:
  void add_whole(size_t m) {
    const auto& p = t_.whole(m);
    for (size_t i = 0; i < sum_.size(); ++i) sum_[i] += static_cast<double>(p[i]);
  }
  Table& t_;
  SelectionLoss loss_;
  std::vector<double> own_, sum_;
  std::vector<int> count_;
  std::vector<size_t> order_;
};

struct Run {
  std::vector<int32_t> order;
  std::vector<double> loss;
  int cut = 0;
};

Run run_greedy(Table& table, std::span<const size_t> among, const GreedyOptions& o) {
  Run run;
  Bag bag(table, o.loss);
  const auto cost_with = [&](size_t m) {
    double cost = o.shared_cost;
    for (size_t i = 0; i < o.cost.size(); ++i) cost += bag.count()[i] > 0 || i == m ? o.cost[i] : 0;
    return cost;
  };
  std::vector<size_t> first;
  if (o.start > 0) {
    std::vector<std::pair<double, size_t>> single;
    bag.prepare(o.loss);
    for (const size_t m : among) single.emplace_back(bag.loss(m, o.loss), m);
    std::ranges::stable_sort(single, {}, &std::pair<double, size_t>::first);
    for (size_t i = 0; i < std::min(single.size(), static_cast<size_t>(o.start)); ++i) first.push_back(single[i].second);
  }
  for (int r = 0; r < o.rounds; ++r) {
    std::vector<size_t> allowed(among.begin(), among.end());
    if (static_cast<size_t>(r) < first.size()) allowed = {first[static_cast<size_t>(r)]};
    if (o.budget > 0) std::erase_if(allowed, [&](size_t m) { return cost_with(m) > o.budget; });
    if (allowed.empty()) {
      if (static_cast<size_t>(r) < first.size()) continue;
      break;
    }
    const auto [m, loss] = bag.best(allowed);
    bag.add(m);
    run.order.push_back(static_cast<int32_t>(m));
    run.loss.push_back(loss);
  }
  // A start that is worse than its successors is still the start: the cut keeps it whole.
  const size_t from = std::min(std::max<size_t>(first.size(), 1), run.loss.size());
  for (size_t i = from; i <= run.loss.size(); ++i) {
    const double least = run.cut == 0 ? 0 : run.loss[static_cast<size_t>(run.cut) - 1];
    if (i > 0 && (run.cut == 0 || (run.loss[i - 1] < least && !equal(run.loss[i - 1], least)))) run.cut = static_cast<int>(i);
  }
  return run;
}

std::vector<double> row_nll(std::span<const double> sum, double count) {
  std::vector<double> out(sum.size());
  for (size_t i = 0; i < sum.size(); ++i) out[i] = det_log(count) - det_log(sum[i]);
  return out;
}

}  // namespace

SelectionLoss parse_selection_loss(std::string_view name) {
  if (name == "nll") return SelectionLoss::nll;
  if (name == "brier") return SelectionLoss::brier;
  if (name == "error") return SelectionLoss::error;
  fail("select", "loss must be one of nll, brier, error, got \"", name, "\"");
}

Greedy greedy_select(std::span<const Predictions> members, std::span<const int32_t> label, const GreedyOptions& o) {
  Table table(members, label, o.threads);
  check(!label.empty(), "select", "at least one row is required, got none");
  check(o.rounds >= 1, "select", "rounds must be at least 1, got ", o.rounds);
  check(o.start >= 0 && o.bags >= 0, "select", "start and bags must be >= 0, got ", o.start, " and ", o.bags);
  check(o.cost.empty() || o.cost.size() == members.size(), "select", "costs must be one per member, got ", o.cost.size(), " for ", members.size());
  check(o.budget <= 0 || !o.cost.empty(), "select", "a budget needs the members' costs");
  if (o.budget > 0) {
    const double least = *std::ranges::min_element(o.cost) + o.shared_cost;
    check(least <= o.budget, "select", "budget must allow one member, the cheapest takes ", least, " ms, got ", o.budget);
  }
  const size_t count = members.size();
  std::vector<double> counts(count, 0.0);
  Greedy out;
  for (int bag = 0; bag < std::max(1, o.bags); ++bag) {
    std::vector<size_t> among(count);
    std::iota(among.begin(), among.end(), size_t{0});
    if (o.bags > 0) {
      const Permutation half(o.key.fold_in("bags").fold_in(static_cast<uint64_t>(bag)), count);
      among.resize((count + 1) / 2);
      for (size_t i = 0; i < among.size(); ++i) among[i] = static_cast<size_t>(half(i));
      std::ranges::sort(among);
    }
    const Run run = run_greedy(table, among, o);
    for (int i = 0; i < run.cut; ++i) counts[static_cast<size_t>(run.order[static_cast<size_t>(i)])] += 1;
    if (bag == 0) {
      out.order = run.order;
      out.loss = run.loss;
      out.cut = run.cut;
    }
  }
  const double sum = std::accumulate(counts.begin(), counts.end(), 0.0);
  check(sum > 0, "select", "no half of the members holds one that keeps the budget");
  std::vector<double> mix(label.size(), 0.0);
  out.cost = o.cost.empty() ? 0 : o.shared_cost;
  for (size_t m = 0; m < count; ++m) {
    out.weights.push_back(counts[m] / sum);
    if (counts[m] == 0) continue;
    if (!o.cost.empty()) out.cost += o.cost[m];
    for (size_t i = 0; i < mix.size(); ++i) mix[i] += counts[m] * static_cast<double>(table.own(m)[i]);
  }
  const auto rows = row_nll(mix, sum);
  out.nll = std::accumulate(rows.begin(), rows.end(), 0.0) / static_cast<double>(rows.size());
  return out;
}

Pruning prune(std::span<const Predictions> members, std::span<const int32_t> label, double margin, Key key, int threads) {
  Table table(members, label, threads);
  check(!label.empty(), "select", "at least one row is required, got none");
  const size_t count = members.size();
  const auto n = static_cast<double>(label.size());
  std::vector<size_t> left(count);
  std::iota(left.begin(), left.end(), size_t{0});
  Pruning out;
  std::vector<double> full;
  bool within = true;
  int32_t dropped = -1;
  while (true) {
    std::vector<double> sum(label.size(), 0.0);
    for (const size_t m : left) {
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(table.own(m)[i]);
    }
    const auto rows = row_nll(sum, static_cast<double>(left.size()));
    if (full.empty()) full = rows;
    PruneStep step{.dropped = dropped, .size = static_cast<int64_t>(left.size()),
                   .nll = std::accumulate(rows.begin(), rows.end(), 0.0) / n, .increase = bootstrap_difference(rows, full, key, threads)};
    within = within && step.increase.bounds.high <= margin;
    if (within || out.curve.empty()) {
      out.kept.clear();
      for (const size_t m : left) out.kept.push_back(static_cast<int32_t>(m));
    }
    out.curve.push_back(step);
    if (left.size() == 1) return out;
    // The least NLL of those left has the largest sum of logarithms.
    std::vector<double> logs(left.size());
    table.pool().run(static_cast<int64_t>(left.size()), [&](int64_t at, int) {
      const auto j = static_cast<size_t>(at);
      std::vector<double> rest(label.size(), 0.0);
      for (size_t other = 0; other < left.size(); ++other) {
        if (other == j) continue;
        for (size_t i = 0; i < rest.size(); ++i) rest[i] += static_cast<double>(table.own(left[other])[i]);
      }
      const std::vector<float> none(label.size(), 0.0F);
      logs[j] = sum_log(rest.data(), none.data(), 1, rest.size());
    });
    const auto worst = std::ranges::max_element(logs) - logs.begin();
    dropped = static_cast<int32_t>(left[static_cast<size_t>(worst)]);
    left.erase(left.begin() + worst);
  }
}

std::vector<WithoutMember> who_can_go(std::span<const Predictions> members, std::span<const int32_t> label, double margin, Key key,
                                      int threads) {
  std::vector<WithoutMember> out;
  if (members.size() < 2) return out;
  const Combined all = combine(members, {.threads = threads});
  const RowScores with = row_scores(all.view(), label, all.label);
  const auto as_double = [](const std::vector<uint8_t>& right) { return std::vector<double>(right.begin(), right.end()); };
  for (size_t m = 0; m < members.size(); ++m) {
    std::vector<double> weights(members.size(), 1.0);
    weights[m] = 0;
    const Combined rest = combine(members, {.weights = weights, .threads = threads});
    const RowScores without = row_scores(rest.view(), label, rest.label);
    WithoutMember w{.member = static_cast<int32_t>(m), .nll = bootstrap_difference(without.nll, with.nll, key, threads),
                    .accuracy = bootstrap_difference(as_double(without.right), as_double(with.right), key, threads), .verdict = "keep"};
    if (w.nll.bounds.high < margin) w.verdict = "can go";
    if (w.nll.bounds.high < 0) w.verdict = "harmful";
    out.push_back(w);
  }
  return out;
}

}  // namespace ballast
