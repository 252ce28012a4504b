#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ballast/probe/drop_order.h>
#include <ballast/probe/init_report.h>

namespace ballast {

struct RunOptions;

/// What a run's model does before it trains, for one start or several.
struct ProbedRun {
  std::string model, norm, act, data;  ///< "plain_cnn:30", "none", "relu", "fashion-mnist"
  int64_t samples = 0, channels = 0, height = 0, width = 0, classes = 0;
  std::vector<std::pair<std::string, InitReport>> starts;  ///< by name of --init
  std::vector<DropOrderRow> drop_order;
};

/// Builds the model of a run with each start and probes it on the first training batch (augmented and normalized as in
/// training). Writes nothing.
///
/// starts   values of --init; empty: the run's own.
/// Errors   those of run_training before its first step.
ProbedRun probe_run(const RunOptions& options, const std::vector<std::string>& starts, const InitReportOptions& probe = {});

}  // namespace ballast
