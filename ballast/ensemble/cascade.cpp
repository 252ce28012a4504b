#include <ballast/ensemble/cascade.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <ballast/base/check.h>
#include <ballast/ensemble/calibrate.h>
#include <ballast/ensemble/metrics.h>

namespace ballast {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

/// The running combination after `stages` members, before its temperature.
Combined running(const Cascade& c, std::span<const Predictions> members, size_t stages, int threads) {
  std::vector<Predictions> first;
  for (size_t j = 0; j < stages; ++j) first.push_back(members[static_cast<size_t>(c.order[j])]);
  return combine(first, {.weights = std::vector<double>(c.weights.begin(), c.weights.begin() + static_cast<int64_t>(stages)), .threads = threads});
}

Combined tempered(Combined c, double temperature, int threads) {
  if (temperature == 1) return c;
  const auto g = calibration_scores(c, Rule::mean_probability, 1);
  c.probability = probabilities({g.data(), c.size(), c.k, true}, temperature, threads);
  return c;
}

/// What each row would give at each stage.
struct Stages {
  std::vector<std::vector<double>> confidence, nll, right;
};

struct Outcome {
  double ms = 0;
  bool allowed = false;
};

Outcome judge(const Stages& s, const Cascade& c, const std::vector<double>& tau, const CascadeOptions& o) {
  const size_t n = s.nll[0].size(), last = s.nll.size() - 1;
  double ms = 0, nll = 0, nll2 = 0, lost = 0, lost2 = 0;
  for (size_t i = 0; i < n; ++i) {
    size_t j = 0;
    ms += c.cost[0];
    while (j < last && !(s.confidence[j][i] >= tau[j])) ms += c.cost[++j];
    const double a = s.nll[j][i] - s.nll[last][i], b = s.right[last][i] - s.right[j][i];
    nll += a;
    nll2 += a * a;
    lost += b;
    lost2 += b * b;
  }
  const auto count = static_cast<double>(n);
  const auto upper = [&](double sum, double squares) {
    const double mean = sum / count;
    return mean + 1.6448536 * std::sqrt(std::max(0.0, squares / count - mean * mean) / count);
  };
  return {c.shared_cost + ms / count, upper(nll, nll2) <= o.max_nll && upper(lost, lost2) <= o.max_accuracy};
}

}  // namespace

Cascade fit_cascade(std::span<const Predictions> select, std::span<const int32_t> select_label, std::span<const Predictions> calib,
                    std::span<const int32_t> calib_label, const CascadeOptions& o, int threads) {
  check_members("cascade", select);
  check_members("cascade", calib);
  check(select.size() == calib.size(), "cascade", "select and calib must have the same members, got ", select.size(), " and ", calib.size());
  check(o.cost.size() == select.size(), "cascade", "costs must be one per member, got ", o.cost.size(), " for ", select.size());
  check(o.weights.empty() || o.weights.size() == select.size(), "cascade", "weights must be one per member, got ", o.weights.size(), " for ", select.size());
  check(!select_label.empty(), "cascade", "at least one row is required, got none");
  Cascade c;
  c.shared_cost = o.shared_cost;
  const auto weight = [&](int32_t m) { return o.weights.empty() ? 1.0 : o.weights[static_cast<size_t>(m)]; };
  for (size_t m = 0; m < select.size(); ++m) {
    check(o.cost[m] > 0, "cascade", "costs must be > 0, got ", o.cost[m], " of member ", m);
    if (weight(static_cast<int32_t>(m)) > 0) c.order.push_back(static_cast<int32_t>(m));
  }
  check(!c.order.empty(), "cascade", "a member of weight > 0 is required, got none");
  std::ranges::stable_sort(c.order, std::greater<>(), [&](int32_t m) { return weight(m) / o.cost[static_cast<size_t>(m)]; });
  for (const int32_t m : c.order) {
    c.weights.push_back(weight(m));
    c.cost.push_back(o.cost[static_cast<size_t>(m)]);
  }
  Stages s;
  for (size_t j = 1; j <= c.order.size(); ++j) {
    c.temperature.push_back(fit_temperature(running(c, calib, j, threads).view(), calib_label, threads).value);
    const Combined now = tempered(running(c, select, j, threads), c.temperature.back(), threads);
    const RowScores rows = row_scores(now.view(), select_label, now.label);
    s.confidence.push_back(rows.confidence);
    s.nll.push_back(rows.nll);
    s.right.emplace_back(rows.right.begin(), rows.right.end());
  }
  c.tau.assign(c.order.size() - 1, kNever);
  double best = judge(s, c, c.tau, o).ms;
  for (int round = 0; round < 20; ++round) {
    bool better = false;
    for (size_t j = 0; j < c.tau.size(); ++j) {
      std::vector<double> sorted = s.confidence[j];
      std::ranges::sort(sorted);
      std::vector<double> tau = c.tau;
      for (size_t q = 0; q < 50; ++q) {
        tau[j] = sorted[q * (sorted.size() - 1) / 49];
        const Outcome out = judge(s, c, tau, o);
        if (out.allowed && out.ms < best - 1e-12) {
          best = out.ms;
          c.tau[j] = tau[j];
          better = true;
        }
      }
    }
    if (!better) break;
  }
  return c;
}

CascadeResult run_cascade(const Cascade& c, std::span<const Predictions> members, int threads) {
  check_members("cascade", members);
  const auto k = static_cast<size_t>(members[0].k);
  CascadeResult out;
  for (size_t j = 0; j < c.order.size(); ++j) {
    check(static_cast<size_t>(c.order[j]) < members.size(), "cascade", "members must be those of the fit, got ", members.size());
    const Combined now = tempered(running(c, members, j + 1, threads), c.temperature[j], threads);
    if (j == 0) {
      out.combined = now;
      out.stage.assign(now.label.size(), -1);
    }
    for (size_t i = 0; i < out.stage.size(); ++i) {
      if (out.stage[i] >= 0) continue;
      const auto top = static_cast<size_t>(now.label[i]);
      const bool leaves = j + 1 == c.order.size() || static_cast<double>(now.probability[i * k + top]) >= c.tau[j];
      if (!leaves) continue;
      out.stage[i] = static_cast<int32_t>(j);
      out.combined.label[i] = now.label[i];
      out.combined.tie_level[i] = now.tie_level[i];
      std::copy_n(now.probability.begin() + static_cast<int64_t>(i * k), k, out.combined.probability.begin() + static_cast<int64_t>(i * k));
    }
  }
  out.worst_ms = c.shared_cost + std::accumulate(c.cost.begin(), c.cost.end(), 0.0);
  out.expected_ms = c.shared_cost;
  for (const int32_t stage : out.stage) {
    for (int32_t j = 0; j <= stage; ++j) out.expected_ms += c.cost[static_cast<size_t>(j)] / static_cast<double>(out.stage.size());
  }
  return out;
}

}  // namespace ballast
