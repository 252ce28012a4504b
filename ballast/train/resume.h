#pragma once

// Finding a run that goes on. No torch in this header.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ballast/io/checkpoint_folder.h>
#include <ballast/io/json.h>
#include <ballast/train/run_folder.h>
#include <ballast/train/run_options.h>

namespace ballast {

/// The folder of a run that was begun, locked, and the newest of its checkpoints that is whole.
class Resume {
 public:
  /// The run that these options name (run.name, run.out), if there is one.
  /// Errors  DataError: there are checkpoints, and none can be loaded (unless options.restart); or options.resume, and there
  ///         is no run; InUseError; StorageError.
  static std::optional<Resume> find(const RunOptions& options, FileSystem& fs);

  const std::filesystem::path& path() const { return path_; }
  std::unique_ptr<RunFolder> take_folder() { return std::move(folder_); }
  const std::shared_ptr<CheckpointFolder>& checkpoints() const { return checkpoints_; }
  /// Null: the run ended before its first save, and begins anew.
  const Checkpoint* checkpoint() const { return checkpoint_ ? &*checkpoint_ : nullptr; }
  const JsonValue& state() const { return state_; }
  const JsonValue& session() const { return session_; }
  const RecordPosition& record() const { return record_; }
  /// result.json: the run is over. Null otherwise.
  const JsonValue* result() const { return result_ ? &*result_ : nullptr; }
  /// Checkpoints that could not be used, and why.
  const std::vector<std::string>& passed_over() const { return passed_over_; }
  /// Passes over the present checkpoint and takes the next older one. Errors: DataError as find().
  void pass_over(const std::string& why);

  /// Keys whose values differ from those of the run, but for those that decide no result (its name, workers, threads).
  struct Edit {
    std::string key, before, now;
    bool allowed = false;
  };
  std::vector<Edit> edits(const RunOptions& now) const;
  /// Throws std::invalid_argument unless there are no edits, or options.resume and all are of keys that may change.
  void check_edits(const RunOptions& now) const;
  /// Throws DataError with up to 10 names if the data is not what it was (unless options.accept_data_change).
  void check_data(const RunOptions& now, const std::string& split_csv) const;

 private:
  void take_next();
  void start_anew();

  FileSystem* fs_ = nullptr;
  std::filesystem::path path_;
  std::unique_ptr<RunFolder> folder_;
  std::shared_ptr<CheckpointFolder> checkpoints_;
  std::vector<std::string> candidates_;  // newest first
  std::optional<Checkpoint> checkpoint_;
  JsonValue state_, session_;
  RecordPosition record_;
  std::optional<JsonValue> result_;
  std::vector<std::string> passed_over_;
};

/// Where the logs stood when a checkpoint with this state.json and session.json was made. Errors: DataError.
RecordPosition record_position(const JsonValue& state, const JsonValue& session);

/// Where these options want the run's folder to be.
RunFolderOptions folder_options(const RunOptions& options);

/// The values that decide a result, by key: for state.json.
JsonValue deciding_values(const RunOptions& options);

}  // namespace ballast
