#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <ballast/control/stop_reason.h>

namespace ballast {

enum class MonitorMode { min, max };
enum class OnNan { count, ignore, stop };
enum class CombineMonitors { all, any };

/// Options of one monitor.
struct EarlyStoppingOptions {
  /// Whether lower or higher values are better: the metric's declared direction.
  MonitorMode mode = MonitorMode::min;
  /// p: training stops at the p-th check in a row without improvement; >= 1. Nothing: never by patience.
  std::optional<int64_t> patience;
  /// An improvement is more than the largest of min_delta, rel_delta * |reference| and noise_z * SE; all >= 0.
  double min_delta = 0.0;
  double rel_delta = 0.0;
  double noise_z = 0.0;
  /// The first checks, which are only looked at.
  int64_t warmup_checks = 0;
  /// Checks that do not count after a cut of the rate, a restart or a rollback.
  int64_t cooldown = 0;
  /// No stop by patience or target before both are reached.
  int64_t min_epochs = 0;
  int64_t min_steps = 0;
  /// Stop when the value is at or past `target` (good enough), or beyond `divergence` (hopeless).
  std::optional<double> target;
  std::optional<double> divergence;
  /// A first reference, before any check.
  std::optional<double> baseline;
  /// Half-life in checks of a bias-corrected moving average of the value, used for divergence, target and improvement;
  /// 0: the value itself. `best` stays raw.
  double smooth = 0.0;
  OnNan on_nan = OnNan::count;
};

/// What a monitor remembers: everything a checkpoint must keep. Options are not state.
struct EarlyStoppingState {
  int64_t checks = 0;
  int64_t wait = 0;
  int64_t cooldown_left = 0;
  /// What improvement is measured from, and the check that set it (0: none, or the baseline).
  std::optional<double> reference;
  int64_t reference_check = 0;
  /// Best raw value (the earliest on a tie), the check and the step at which its weights were taken.
  std::optional<double> best;
  int64_t best_check = 0;
  int64_t best_step = 0;
  /// Moving average: sum of weighted values, and of weights.
  double smooth_sum = 0.0;
  double smooth_weight = 0.0;
  /// Waiting checks whose value was not finite.
  int64_t nonfinite_waiting = 0;
  bool operator==(const EarlyStoppingState&) const = default;
};

/// One check of the validation split.
struct CheckValue {
  double value = 0.0;
  /// Standard error of the paired difference to the reference check; 0 if unknown.
  double standard_error = 0.0;
  /// Epochs and optimizer steps completed.
  int64_t epoch = 0;
  int64_t step = 0;
};

struct StopDecision {
  bool stop = false;
  StopReason reason = StopReason::completed;
  /// The value improved on the reference by more than the margin.
  bool improved = false;
  /// The value is the best so far: keep these weights.
  bool new_best = false;
  /// Row of the table that applied, 1 to 9.
  int row = 0;
};

/// Stops training when a value no longer improves: one transition of the machine.
///
///   improved(x)  =  reference - x > max(min_delta, rel_delta*|reference|, noise_z*SE)      (mode min; mirrored for max)
///
///   row  check k, value v; the first that matches           wait  reference  best         decision
///   1    v not finite, on_nan = stop (also in warm-up)       =     =          =            stop non_finite
///   2    k <= warmup_checks                                  0     =          =            go on
///   3    v not finite, on_nan = ignore                       =     =          =            go on
///   4    v beyond divergence                                 =     =          =            stop diverged
///   5    v at or past target, minimum reached                0     v          v if better  stop target_reached
///   6    first finite v without baseline, or improved(v)     0     v          v if better  go on
///   7    otherwise, cooldown_left > 0                        =     =          v if better  go on
///   8    otherwise, wait + 1 < patience, or below minimum    +1    =          v if better  go on
///   9    otherwise                                           +1    =          v if better  stop patience
///
/// Rows 7 to 9 also take a v that is not finite (on_nan = count); it touches neither reference nor best. Row 9 gives
/// non_finite if every waiting check was not finite. A cooldown counts down at each check after the one that set it.
/// `reference` and `best` are two things: a gain below the margin does not reset wait, but its weights are the best ones.
/// Source   Prechelt 1998 for the idea; the conformance table of the tests for the differences to other libraries.
/// Errors   std::invalid_argument if an option is outside its range.
StopDecision update_early_stopping(const EarlyStoppingOptions& options, EarlyStoppingState& state,
                                   const CheckValue& check);

/// The state before the first check: with the baseline as reference.
EarlyStoppingState start_early_stopping(const EarlyStoppingOptions& options);

/// To be called when the rate was cut, a cosine cycle restarted or a rollback happened: starts the cooldown, wait is 0.
void start_cooldown(const EarlyStoppingOptions& options, EarlyStoppingState& state);

/// Throws if an option is outside its range.
void check_early_stopping(const EarlyStoppingOptions& options);

/// Several monitors: values[i] belongs to options[i] and states[i], the first being the primary, whose improved and
/// new_best are returned. Rows 1, 4 and 5 of any act at once; patience stops when all (any) have exhausted theirs.
StopDecision update_early_stopping(std::span<const EarlyStoppingOptions> options,
                                   std::span<EarlyStoppingState> states,
                                   std::span<const CheckValue> values, CombineMonitors combine);

}  // namespace ballast
