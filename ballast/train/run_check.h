#pragma once

#include <memory>
#include <optional>
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

  /// Evaluates, decides, records. The reason if training is to stop, else nothing. If a stop is asked for meanwhile, nothing
  /// has happened and the reason is `signal`.
  std::optional<StopReason> check();
  /// A check is due after this many steps.
  bool due(int64_t t) const { return t % every_ == 0; }

  /// What later checks and the end depend on, but for the best weights; and back. Errors: DataError.
  JsonValue state() const;
  void restore(const JsonValue& state);
  /// The state under other options of stopping: every check of the record so far is gone through again; past checks decide
  /// nothing.
  void replay(const std::vector<JsonValue>& record);
  /// Evaluates the weights as they are, without a trace. Empty if it was interrupted by a request to stop.
  PredictionTable evaluate();
  /// The value of the monitor at this step, if it was checked at this step.
  std::optional<double> value_at(int64_t t) const { return t == checked_step_ ? std::optional(checked_value_) : std::nullopt; }

  BestCheck& best() { return best_; }
  const EarlyStoppingState& stopping() const { return states_.front(); }
  /// A rollback happened: stopping waits for its cooldown.
  void start_cooldowns();
  /// Pictures of the validation part that could not be read.
  std::vector<BadSample> bad_samples() const;

 private:
  StopDecision decide(const Metrics& metrics);
  void change_rate(double value);
  void tell(const Metrics& metrics, double value, const StopDecision& decision, double train_loss);
  void record(const Metrics& metrics, const StopDecision& decision, double train_loss);

  RunContext& run_;
  StepLog& log_;
  int64_t every_ = 1;
  std::unique_ptr<Loader> val_;  // null: no validation part
  std::vector<EarlyStoppingState> states_;  // of the monitors; the first decides what is best
  PlateauState plateau_;
  BestCheck best_;
  int64_t checked_step_ = -1;
  double checked_value_ = 0;
};

/// A row of kind `check`: step, epoch, split and all metrics.
JsonValue check_row(const RunContext& run, const std::string& split, int64_t step, const Metrics& metrics);
/// Adds a row of kind `decision` to the record.
void record_decision(RunContext& run, const std::string& what, const std::string& reason, std::optional<double> value);
/// The state of one monitor as JSON, and back. Errors: DataError.
JsonValue stopping_json(const EarlyStoppingState& state);
EarlyStoppingState stopping_state(const JsonValue& value);
/// Writes model/: the present weights, as those of the best check (or of the last step).
void write_model(RunContext& run, int64_t epoch, int64_t step, double value);

}  // namespace ballast
