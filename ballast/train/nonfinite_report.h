#pragma once

#include <ballast/train/step_log.h>

namespace ballast {

/// Tells of a step whose loss or gradient is not finite: writes nonfinite/step-<n>/report.json into the run folder (step,
/// rate, whether input and weights are finite, the samples, the last losses and norms), then throws NonFiniteError that
/// names step, epoch, batch, samples and the report.
[[noreturn]] void fail_non_finite(RunContext& run, const StepLog& log, const StepResult& result, const BatchSlot& slot);

}  // namespace ballast
