#pragma once

#include <ballast/train/run_context.h>

namespace ballast {

/// Fills run.plan, with the time that a few steps take on this machine (their effects are taken back), and tells it and
/// what is worth a warning.
/// `known_speed`: images per second of an earlier session, which then is not measured again; 0: measure.
void plan_run(RunContext& run, double known_speed = 0);

}  // namespace ballast
