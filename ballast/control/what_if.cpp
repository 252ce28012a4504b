#include <ballast/control/what_if.h>

#include <cmath>

namespace ballast {

WhatIfRow what_if(const EarlyStoppingOptions& options, std::span<const WhatIfCheck> checks) {
  WhatIfRow row;
  EarlyStoppingState state = start_early_stopping(options);
  size_t best = checks.size(), best_of_all = checks.size();
  const auto better = [&](size_t i, size_t than) {
    const double value = checks[i].check.value;
    if (!std::isfinite(value)) return false;
    if (than == checks.size()) return true;
    const double other = checks[than].check.value;
    return options.mode == MonitorMode::min ? value < other : value > other;
  };
  for (size_t i = 0; i < checks.size(); ++i) {
    if (better(i, best_of_all)) best_of_all = i;
    if (row.stop_check) continue;
    const StopDecision decision = update_early_stopping(options, state, checks[i].check);
    if (decision.new_best) best = i;
    row.epoch = checks[i].check.epoch;
    row.step = checks[i].check.step;
    if (decision.stop) {
      row.stop_check = static_cast<int64_t>(i) + 1;
      row.reason = decision.reason;
    }
  }
  if (!checks.empty() && checks.back().check.step > 0) {
    row.saved = 1 - static_cast<double>(row.step) / static_cast<double>(checks.back().check.step);
  }
  if (best < checks.size()) {
    const WhatIfCheck& kept = checks[best];
    const WhatIfCheck& whole = checks[best_of_all];
    row.best = kept.check.value;
    row.best_step = kept.check.step;
    row.lost = std::abs(kept.check.value - whole.check.value);
    const double se = std::hypot(kept.value_se, whole.value_se);
    if (best == best_of_all) {
      row.lost_in_se = 0;
    } else if (se > 0) {
      row.lost_in_se = row.lost / se;
    }
  }
  return row;
}

}  // namespace ballast
