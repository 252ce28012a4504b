#pragma once

#include <ballast/train/run_check.h>
#include <ballast/train/run_checkpoint.h>

namespace ballast {

/// Ends a run: it is saved; the best weights are restored and written to model/, the test part is evaluated, predictions/, the
/// tables and the report are written, result.json last. Fills `result`; `reason` says how far this goes (an interrupted run
/// is not evaluated and has no result).
void end_run(RunContext& run, StepLog& log, RunChecks& checks, RunCheckpoints& checkpoints, StopReason reason,
             bool check_pending, RunResult& result);

/// What result.json says of a run that has ended. Errors: DataError.
RunResult read_result(const JsonValue& json);

}  // namespace ballast
