#pragma once

#include <string>

#include <ballast/train/step_log.h>

namespace ballast {

/// What is known of a step whose loss or gradient is not finite: nonfinite/step-<n>/report.json (step, samples with their files, rate,
/// the last losses and norms, the first operator and layer that was not finite) and batch.safetensors (x, y) in the run folder. Returns it as one sentence. The step
/// is computed once more for it, from the weights and buffers of before.
std::string report_non_finite(RunContext& run, const StepLog& log, const StepResult& result, const BatchSlot& slot);

}  // namespace ballast
