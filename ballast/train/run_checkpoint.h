#pragma once

#include <future>
#include <memory>
#include <string>
#include <vector>

#include <ballast/train/resume.h>
#include <ballast/train/run_check.h>

namespace ballast {

/// Where a run stands beside the number of steps.
struct RunPosition {
  bool check_pending = false;  ///< the check that is due after this step was not made
  std::string ended;           ///< the reason, if the run is over but for its end
};

/// Saves everything that the next step depends on, and brings it back.
///
///   checkpoints/step-<n>/   model, optimizer, ema, best (unless that is the model or the average itself) .safetensors,
///                           state.json, session.json
///
/// A save copies the tensors and goes on; a thread of its own writes them, one save at a time. Between two steps only.
class RunCheckpoints {
 public:
  /// `folder` may be null: a new one is made.
  RunCheckpoints(RunContext& run, StepLog& log, RunChecks& checks, std::shared_ptr<CheckpointFolder> folder);
  ~RunCheckpoints();
  RunCheckpoints(const RunCheckpoints&) = delete;
  RunCheckpoints& operator=(const RunCheckpoints&) = delete;

  /// A save is due by time or steps; or a check has just been made, and saving takes at most 2 % of the time.
  bool due(bool checked) const;
  /// Begins a save. A failed one does not end training: a warning; three in a row do.
  /// Errors  StorageError.
  void save(const RunPosition& position = {});
  /// Saves in the foreground, after the one under way. Errors: StorageError: this is the last chance.
  void save_now(const RunPosition& position);
  /// Brings everything back, from the newest checkpoint that fits. Errors: DataError: none does.
  RunPosition restore(Resume& resume);

  /// Goes back to the newest whole checkpoint, one rollback more; the record is cut to it. Errors: DataError: there is none.
  RunPosition roll_back();
  /// The time within which 95 of 100 saves of this process ended; 0 before the first.
  double usual_save_seconds() const;

  /// Edits of the configuration so far: [{"step", "key", "before", "now"}].
  JsonValue edits = JsonValue::array();
  /// Pictures that could not be read in earlier sessions.
  std::vector<BadSample> earlier_bad;

 private:
  struct Job {
    CheckpointInfo info;
    std::vector<CheckpointFile> files;
  };
  Job snapshot(const RunPosition& position);
  JsonValue state(const RunPosition& position, const RecordPosition& record) const;
  JsonValue session(const RecordPosition& record) const;
  void write(const Job& job);
  void finish_pending();
  void apply(const Resume& resume);
  void apply(const Checkpoint& c, const JsonValue& state);

  RunContext& run_;
  StepLog& log_;
  RunChecks& checks_;
  std::shared_ptr<CheckpointFolder> folder_;
  std::future<double> pending_;  // seconds that it took
  int64_t pending_step_ = 0, saved_step_ = -1, resumes_ = 0;
  double last_save_ = 0, save_seconds_ = 0;
  std::vector<double> durations_;
  int failed_ = 0;
};

/// Bad samples as JSON, and back. Errors: DataError.
JsonValue bad_samples_json(const std::vector<BadSample>& samples);
std::vector<BadSample> bad_samples_of(const JsonValue& list);

}  // namespace ballast
