#pragma once

#include <ballast/train/run_context.h>

namespace ballast {

/// Fills run.plan, with the time that a few steps take on this machine (their effects are taken back), and tells it and
/// what is worth a warning.
void plan_run(RunContext& run);

}  // namespace ballast
