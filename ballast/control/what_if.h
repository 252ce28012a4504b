#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <ballast/control/early_stopping.h>

namespace ballast {

/// A check of a finished run.
struct WhatIfCheck {
  CheckValue check;
  /// Standard error of the value itself; 0 if unknown.
  double value_se = 0.0;
};

/// What early stopping would have done.
struct WhatIfRow {
  /// Check (from 1) at which it would have stopped, and why; nothing: never.
  std::optional<int64_t> stop_check;
  StopReason reason = StopReason::completed;
  int64_t epoch = 0, step = 0;
  /// Share of the run's steps that it would have saved, in [0, 1].
  double saved = 0.0;
  /// Best value up to there, and its step; nothing if no value was finite.
  std::optional<double> best;
  int64_t best_step = 0;
  /// How much worse that is than the best of the whole run, in the monitor's units (0: nothing was lost), and in standard
  /// errors of a difference, sqrt(se_a^2 + se_b^2); nothing where none is known.
  double lost = 0.0;
  std::optional<double> lost_in_se;
};

/// Goes through the checks of a run again under other options. What the stop would have spared is not seen by it: the run's
/// own schedule went on to its own end.
///
/// Errors   std::invalid_argument if an option is outside its range.
WhatIfRow what_if(const EarlyStoppingOptions& options, std::span<const WhatIfCheck> checks);

}  // namespace ballast
