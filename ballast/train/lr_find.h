#pragma once

#include <string>

#include <ballast/control/lr_range.h>
#include <ballast/train/run.h>

namespace ballast {

struct RunOptions;

/// What a learning-rate range test of a run found.
struct LrFindResult {
  std::string model, data, optimizer;
  int64_t batch_size = 0;
  LrRange range{LrRangeOptions{}};
  bool interrupted = false;
};

/// Trains a fresh model of the run's configuration (its data, augmentation, optimizer, losses) while the rate rises, and watches
/// the loss (control/lr_range.h). Writes nothing: no run is touched. The schedule and the number of epochs do not count.
///
/// Errors  those of run_training before its first step; std::invalid_argument for a range.
LrFindResult find_lr(const RunOptions& options, const LrRangeOptions& range, RunEvents& events);

}  // namespace ballast
