// Random sequences against a second implementation that keeps no state: each decision is worked out from the whole history.

#include <ballast/control/early_stopping.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <ballast/base/key.h>

namespace ballast {
namespace {

struct Case {
  EarlyStoppingOptions options;
  std::vector<CheckValue> checks;
  std::vector<bool> cut_after;  // a cooldown starts behind this check
};

enum class Mark { ignored, waited, cooled, improved };

// What each check was, from the list of those before it.
class Oracle {
 public:
  explicit Oracle(const Case& c) : c_(c) {}

  StopDecision decide(size_t k) {
    const EarlyStoppingOptions& o = c_.options;
    const double raw = c_.checks[k].value;
    const bool finite = std::isfinite(raw), warm = static_cast<int64_t>(k) < o.warmup_checks;
    marks_.resize(k + 1, Mark::ignored);
    references_.resize(k + 1, std::nan(""));
    if (!finite && o.on_nan == OnNan::stop) return {.stop = true, .reason = StopReason::non_finite, .row = 1};
    if (warm) return {.row = 2};
    if (!finite && o.on_nan == OnNan::ignore) return {.row = 3};
    const double sign = o.mode == MonitorMode::min ? 1 : -1;
    const double v = finite ? average(k) : 0;
    if (finite && o.divergence && sign * v > sign * *o.divergence) {
      diverged_.push_back(k);
      return {.stop = true, .reason = StopReason::diverged, .row = 4};
    }
    StopDecision d;
    d.new_best = finite && best(k) == k;
    const bool minimum = c_.checks[k].epoch >= o.min_epochs && c_.checks[k].step >= o.min_steps;
    if (finite) {
      const double r = reference(k);
      const double margin = std::max({o.min_delta, o.rel_delta * std::abs(r), o.noise_z * c_.checks[k].standard_error});
      // Averages are summed in another order here: what hangs on the last bit is not compared.
      tie = o.smooth > 0 && std::abs(sign * (r - v) - margin) < 1e-12;
      d.improved = std::isnan(r) || sign * (r - v) > margin;
      const bool reached = o.target && minimum && sign * v <= sign * *o.target;
      if (reached || d.improved) {
        marks_[k] = Mark::improved;
        references_[k] = v;
        d.row = reached ? 5 : 6;
        d.stop = reached;
        d.reason = reached ? StopReason::target_reached : StopReason::completed;
        return d;
      }
    }
    if (cooling(k)) {
      marks_[k] = Mark::cooled;
      d.row = 7;
      return d;
    }
    marks_[k] = Mark::waited;
    int64_t wait = 0, bad = 0;
    for (size_t i = first_of_streak(k); i <= k; ++i) {
      wait += marks_[i] == Mark::waited ? 1 : 0;
      bad += marks_[i] == Mark::waited && !std::isfinite(c_.checks[i].value) ? 1 : 0;
    }
    d.row = 8;
    if (o.patience && wait >= *o.patience && minimum) {
      d.row = 9;
      d.stop = true;
      d.reason = bad == wait ? StopReason::non_finite : StopReason::patience;
    }
    return d;
  }

  bool tie = false;

 private:
  bool counts(size_t i) const {
    return static_cast<int64_t>(i) >= c_.options.warmup_checks && std::isfinite(c_.checks[i].value);
  }
  double average(size_t k) const {
    if (c_.options.smooth == 0) return c_.checks[k].value;
    std::vector<double> seen;
    for (size_t i = 0; i <= k; ++i) {
      if (counts(i)) seen.push_back(c_.checks[i].value);
    }
    const double d = std::pow(2, -1 / c_.options.smooth);
    double sum = 0, weight = 0;
    for (size_t i = 0; i < seen.size(); ++i) {
      const double w = std::pow(d, static_cast<double>(seen.size() - 1 - i));
      sum += w * seen[i];
      weight += w;
    }
    return sum / weight;
  }
  double reference(size_t k) const {
    for (size_t i = k; i-- > 0;) {
      if (marks_[i] == Mark::improved) return references_[i];
    }
    return c_.options.baseline.value_or(std::nan(""));
  }
  size_t best(size_t k) const {
    const double sign = c_.options.mode == MonitorMode::min ? 1 : -1;
    size_t at = k + 1;
    for (size_t i = 0; i <= k; ++i) {
      const bool hopeless = std::find(diverged_.begin(), diverged_.end(), i) != diverged_.end();
      if (counts(i) && !hopeless && (at > k || sign * c_.checks[i].value < sign * c_.checks[at].value)) at = i;
    }
    return at;
  }
  // Of the checks since the last cut, this one is among the first `cooldown`.
  bool cooling(size_t k) const {
    for (size_t i = k; i-- > 0;) {
      if (c_.cut_after[i]) return static_cast<int64_t>(k - i) <= c_.options.cooldown;
    }
    return false;
  }
  size_t first_of_streak(size_t k) const {
    for (size_t i = k; i-- > 0;) {
      if (marks_[i] == Mark::improved || c_.cut_after[i] || static_cast<int64_t>(i) < c_.options.warmup_checks) return i + 1;
    }
    return 0;
  }

  const Case& c_;
  std::vector<Mark> marks_;
  std::vector<double> references_;
  std::vector<size_t> diverged_;
};

Case draw_case(Key key) {
  uint64_t next = 0;
  const auto u = [&] { return uniform(key, next++); };
  const auto some = [&](double share) { return u() < share; };
  const auto number = [&](int64_t n) { return static_cast<int64_t>(u() * static_cast<double>(n)); };
  Case c;
  EarlyStoppingOptions& o = c.options;
  o.mode = some(0.5) ? MonitorMode::min : MonitorMode::max;
  if (some(0.9)) o.patience = 1 + number(4);
  if (some(0.4)) o.min_delta = 0.25 * static_cast<double>(number(4));
  if (some(0.3)) o.rel_delta = 0.125 * static_cast<double>(number(3));
  if (some(0.3)) o.noise_z = static_cast<double>(number(3));
  if (some(0.3)) o.warmup_checks = number(4);
  if (some(0.4)) o.cooldown = number(4);
  if (some(0.3)) o.min_epochs = number(8);
  if (some(0.2)) o.min_steps = number(60);
  if (some(0.3)) o.smooth = 0.5 * static_cast<double>(number(4));
  if (some(0.2)) o.target = 4 * u() - 2;
  if (some(0.2)) o.divergence = 4 * u() - 2;
  if (some(0.2)) o.baseline = 4 * u() - 2;
  o.on_nan = some(0.5) ? OnNan::count : some(0.5) ? OnNan::ignore : OnNan::stop;
  const int64_t n = 1 + number(20);
  const double nan_share = some(0.4) ? 0.4 * u() : 0;
  for (int64_t k = 0; k < n; ++k) {
    CheckValue v{.value = 0.25 * static_cast<double>(number(17)) - 2, .epoch = k + 1, .step = 7 * (k + 1)};  // ties are common
    if (some(nan_share)) {
      v.value = some(0.5) ? std::nan("") : (some(0.5) ? 1 : -1) * std::numeric_limits<double>::infinity();
    }
    v.standard_error = 0.125 * static_cast<double>(number(4));
    c.checks.push_back(v);
    c.cut_after.push_back(some(0.1));
  }
  return c;
}

TEST(EarlyStoppingOracle, AgreesOver100000Cases) {
  int64_t stops = 0, ties = 0;
  std::vector<int64_t> rows(10, 0);
  for (uint64_t i = 0; i < 100'000; ++i) {
    const Case c = draw_case(Key(77).fold_in(i));
    Oracle oracle(c);
    EarlyStoppingState state = start_early_stopping(c.options);
    for (size_t k = 0; k < c.checks.size(); ++k) {
      const StopDecision got = update_early_stopping(c.options, state, c.checks[k]);
      const StopDecision want = oracle.decide(k);
      if (oracle.tie) {
        ++ties;
        break;
      }
      ASSERT_EQ(got.row, want.row) << "case " << i << " check " << k + 1;
      ASSERT_EQ(got.stop, want.stop) << "case " << i << " check " << k + 1;
      ASSERT_EQ(got.new_best, want.new_best) << "case " << i << " check " << k + 1;
      ++rows[static_cast<size_t>(got.row)];
      if (got.stop) {
        ASSERT_EQ(got.reason, want.reason) << "case " << i << " check " << k + 1;
        ++stops;
        break;
      }
      if (c.cut_after[k]) start_cooldown(c.options, state);
    }
  }
  EXPECT_GT(stops, 30'000);
  EXPECT_LT(ties, 5000);
  for (size_t row = 1; row < rows.size(); ++row) EXPECT_GT(rows[row], 1000) << "row " << row;
}

// State kept after any check and taken up by another process gives the same continuation.
TEST(EarlyStoppingOracle, AStateTakenUpAnywhereGoesOnTheSame) {
  for (uint64_t i = 0; i < 300; ++i) {
    const Case c = draw_case(Key(78).fold_in(i));
    for (size_t at = 0; at < c.checks.size(); ++at) {
      EarlyStoppingState whole = start_early_stopping(c.options), first = whole;
      std::vector<int> rows, parts;
      for (size_t k = 0; k < c.checks.size(); ++k) {
        rows.push_back(update_early_stopping(c.options, whole, c.checks[k]).row);
        if (c.cut_after[k]) start_cooldown(c.options, whole);
        if (k < at) {
          parts.push_back(update_early_stopping(c.options, first, c.checks[k]).row);
          if (c.cut_after[k]) start_cooldown(c.options, first);
        }
      }
      EarlyStoppingState second = first;
      for (size_t k = at; k < c.checks.size(); ++k) {
        parts.push_back(update_early_stopping(c.options, second, c.checks[k]).row);
        if (c.cut_after[k]) start_cooldown(c.options, second);
      }
      ASSERT_EQ(parts, rows) << i << ' ' << at;
      ASSERT_TRUE(second == whole);
    }
  }
}

}  // namespace
}  // namespace ballast
