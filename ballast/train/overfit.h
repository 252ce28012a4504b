#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ballast/train/run.h>

namespace ballast {

struct RunOptions;

/// What became of the attempt to learn a few batches by heart.
struct OverfitResult {
  bool passed = false, interrupted = false;
  int64_t batches = 0, samples = 0, classes = 0;
  int64_t steps = 0;                       ///< done
  double first_loss = 0, loss = 0;         ///< mean over the batches
  double goal = 0;                         ///< .01 ln K; of several labels a picture .01 K ln 2
  double accuracy = 0;                     ///< of the last pass, as trained; of several labels pictures with exactly theirs
  std::vector<std::string> suspects;       ///< if it failed: what may be wrong, the likeliest first
};

/// A model that cannot learn a few samples by heart has a fault that no amount of training cures. Trains on the first `batches`
/// batches of the run's data, fixed, without augmentation, mixing, dropout, smoothing, weight decay or averages, at a constant
/// rate, for at most `max_steps` steps; passes when the mean loss of a pass is at most .01 ln K. Writes nothing.
///
/// Suspects  not finite; frozen parameters; equal pictures with different labels; parameters without a gradient; a loss that does not
///           move, still falls, or jumps.
/// Errors    those of run_training before its first step; std::invalid_argument unless batches >= 1.
OverfitResult overfit(const RunOptions& options, int64_t batches, RunEvents& events, int64_t max_steps = 500);

}  // namespace ballast
