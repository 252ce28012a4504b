#pragma once

#include <cstdint>

namespace ballast {

/// How long the parts of a run take, in seconds, as measured so far.
struct BudgetFacts {
  /// Time of the run until now (over all resumes).
  double elapsed = 0.0;
  /// Mean time of an optimizer step, with its data.
  double step_time = 0.0;
  /// Time of an evaluation of the validation split, and of saving; 0 if none is due at the end.
  double check_time = 0.0;
  double save_time = 0.0;
};

/// Whether a run may go on under a limit of `max_time` seconds: after `steps` more steps there must still be time for the
/// check and the save that end it.
///
///   elapsed + steps * step_time + check_time + save_time <= max_time
///
/// max_time   0 or less: no limit.
/// steps      1 to ask for the next step; an epoch's steps to ask for an epoch.
/// Errors     std::invalid_argument if a time is negative or not finite, or steps < 0.
bool fits_budget(const BudgetFacts& facts, double max_time, int64_t steps = 1);

/// The number of steps that still fit, at most `limit`; `limit` if there is no max_time or step_time is 0.
int64_t steps_that_fit(const BudgetFacts& facts, double max_time, int64_t limit);

}  // namespace ballast
