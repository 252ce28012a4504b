#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ballast/train/step_log.h>

namespace ballast {

/// The best check so far, whose weights are restored at the end.
struct BestCheck {
  int64_t epoch = 0, step = 0;
  double value = 0;
  std::vector<std::pair<std::string, double>> metrics;
  WeightsCopy weights;
  PredictionTable table;
};

/// Evaluations of the validation part, and what is decided by them.
class RunChecks {
 public:
  RunChecks(RunContext& run, StepLog& log);

  /// Evaluates, decides, records. The reason if training is to stop, else nothing.
  std::optional<StopReason> check();
  /// A check is due after this many steps.
  bool due(int64_t t) const { return t % every_ == 0; }

  BestCheck& best() { return best_; }
  const EarlyStoppingState& stopping() const { return stopping_; }
  const std::vector<CsvRow>& csv() const { return csv_; }
  /// Pictures of the validation part that could not be read.
  std::vector<BadSample> bad_samples() const;

 private:
  void tell(const Metrics& metrics, double value, const StopDecision& decision, double train_loss);
  void record(const Metrics& metrics, const StopDecision& decision, double train_loss);

  RunContext& run_;
  StepLog& log_;
  int64_t every_ = 1;
  std::unique_ptr<Loader> val_;  // null: no validation part
  EarlyStoppingState stopping_;
  BestCheck best_;
  std::vector<CsvRow> csv_;
};

/// A row of kind `check`: step, epoch, split and all metrics.
JsonValue check_row(const RunContext& run, const std::string& split, int64_t step, const Metrics& metrics);
/// Adds a row of kind `decision` to the record.
void record_decision(RunContext& run, const std::string& what, const std::string& reason, std::optional<double> value);
/// Writes model/: the present weights, as those of the best check (or of the last step).
void write_model(RunContext& run, int64_t epoch, int64_t step, double value);

}  // namespace ballast
