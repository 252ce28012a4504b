#pragma once

#include <cstdint>
#include <deque>
#include <utility>

#include <ballast/augment/mix_totals.h>
#include <ballast/base/check.h>
#include <ballast/data/loader.h>
#include <ballast/io/json.h>
#include <ballast/train/run_context.h>
#include <ballast/train/run_rows.h>
#include <ballast/train/trainer.h>

namespace ballast {

/// The mean of the last losses, newer ones counting more; half-life 50 steps.
class SmoothLoss {
 public:
  void add(double loss) {
    sum_ = kDecay * sum_ + loss;
    weight_ = kDecay * weight_ + 1;
  }
  double value() const { return weight_ > 0 ? sum_ / weight_ : 0; }
  JsonValue state() const { return std::vector<double>{sum_, weight_}; }
  void restore(const JsonValue& state) {
    check<DataError>(state.size() == 2, "run", "smooth must be two numbers, got ", state.size());
    sum_ = state.elements().at(0).number();
    weight_ = state.elements().at(1).number();
  }

 private:
  static constexpr double kDecay = 0.98623270449;  // 2^(-1/50)
  double sum_ = 0, weight_ = 0;
};

/// What is counted over steps: rows `train` and `watch` of the record, timing, progress.
class StepLog {
 public:
  explicit StepLog(RunContext& run);

  void add_data_time(double seconds) { window_.data += seconds; }
  /// Call before a step that is to be watched.
  void begin_watch();
  /// After each step.
  void after_step(const StepResult& result, const BatchSlot& slot);
  /// After a step that was not finite and left out.
  void after_skip(const BatchSlot& slot);
  /// The mean of the last losses, newer ones counting more.
  double smooth_loss() const { return smooth_.value(); }
  /// The time of what lies between is not the next step's.
  void skip_time() { last_step_end_ = seconds_now(); }

  /// What the next rows depend on, for a checkpoint, and back. Errors: DataError.
  JsonValue state() const;
  void restore(const JsonValue& state);
  /// Seconds of steps so far, of all sessions.
  double step_seconds() const { return step_seconds_; }
  void restore_step_seconds(double seconds) { step_seconds_ = seconds; }

  /// Mean loss since the last call.
  double take_epoch_loss();
  /// What mixing did since the last call, if the run mixes: adds mix.mixed (share), mix.lambda (mean over the mixed
  /// pictures, as used) and mix.label_entropy to a row.
  void take_epoch_mix(JsonValue& row);
  SampleDigest& digest() { return digest_; }
  const StepResult& last() const { return last_; }
  const std::deque<double>& last_losses() const { return last_losses_; }
  const std::deque<double>& last_norms() const { return last_norms_; }
  /// Since the first step.
  double seconds() const { return seconds_now() - train_start_; }
  double images_per_second() const { return step_seconds_ > 0 ? static_cast<double>(samples_) / step_seconds_ : 0; }
  /// Mean time of a step with its data.
  double seconds_per_step() const;

 private:
  // Sums of the steps since the last row of the record.
  struct Window {
    double loss = 0;
    int64_t samples = 0, steps = 0, clipped = 0, skipped = 0;
    double data = 0, forward = 0, backward = 0, optimizer = 0;
  };
  void log_row();
  void end_step();
  void watch_row();
  void progress();
  void report_bad_samples();

  RunContext& run_;
  int64_t log_every_ = 1, watch_every_ = 0;
  bool watching_ = false;
  StepResult last_;
  SmoothLoss smooth_;
  Window window_;
  SampleDigest digest_;
  int64_t samples_ = 0, epoch_samples_ = 0;
  double epoch_loss_ = 0;
  bool mixing_ = false;
  MixTotals mix_;
  std::deque<double> last_losses_, last_norms_;
  size_t last_bad_ = 0;
  std::deque<std::pair<double, int64_t>> rate_;
  double train_start_ = 0, last_progress_ = 0, last_step_end_ = 0, step_seconds_ = 0, watch_seconds_since_ = 0;
};

}  // namespace ballast
