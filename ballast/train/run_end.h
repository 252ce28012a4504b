#pragma once

#include <ballast/train/run_check.h>

namespace ballast {

/// Ends a run: the best weights are restored and written to model/, the test part is evaluated, predictions/, the tables
/// and the report are written. Fills `result`; `reason` says how far this goes (an interrupted run is not evaluated).
void end_run(RunContext& run, StepLog& log, RunChecks& checks, StopReason reason, RunResult& result);

/// Writes checkpoints/step-<n>/ unless it is there, and removes old ones.
void save_checkpoint(RunContext& run);

}  // namespace ballast
