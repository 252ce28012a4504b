#pragma once

// No torch in this header.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include <ballast/base/sha256.h>
#include <ballast/io/event_file.h>
#include <ballast/io/file.h>
#include <ballast/io/jsonl.h>

namespace ballast {

/// Where a run is to be kept.
struct RunFolderOptions {
  /// Folder of all runs.
  std::filesystem::path runs = "runs";
  /// Name of this run, a folder in `runs`; empty: <stem>-<n>, always new.
  std::string name;
  /// The run's folder itself, instead of runs/name.
  std::filesystem::path out;
  /// <data>-<model>; characters other than letters, digits, '.', '_' and '-' become '-'.
  std::string stem = "run";
  /// Moves an existing folder aside, to <name>.old-<n>.
  bool overwrite = false;
};

/// A run folder, locked for the life of this object: a new one, or one that holds a run already (a config.toml), to go on.
///
/// Errors  std::invalid_argument if the folder holds something else than a run: the text names --overwrite; InUseError if
///         another process holds its lock; StorageError.
class RunFolder {
 public:
  RunFolder(FileSystem& fs, const RunFolderOptions& options);

  const std::filesystem::path& path() const { return path_; }
  /// It held a run when it was opened.
  bool holds_run() const { return holds_run_; }
  /// Whether runs/<name> or `out` of these options holds a run.
  static bool is_run(const RunFolderOptions& options);
  FileSystem& fs() const { return fs_; }

  /// Writes a small file of the folder, atomically.
  void write(const std::filesystem::path& name, std::string_view text) const;

 private:
  FileSystem& fs_;
  std::filesystem::path path_;
  bool holds_run_ = false;
  std::unique_ptr<FileLock> lock_;
};

/// Where the logs of a run stood when a checkpoint was made.
struct RecordPosition {
  /// Of metrics.jsonl: bytes, and the SHA-256 of these.
  uint64_t metrics = 0;
  std::string metrics_sha256;
  /// Of timing.jsonl: bytes.
  uint64_t timing = 0;
  /// The step at which it goes on.
  int64_t step = 0;
};

/// The logs of a run: metrics.jsonl (what a rerun repeats), timing.jsonl and events.jsonl (what depends on the clock), and
/// TensorBoard events.
class RunRecord {
 public:
  /// Of a new run: logs that are there already are emptied.
  RunRecord(const RunFolder& folder, bool tensorboard);
  /// Goes on: what stands behind the position is cut off, so that no row is doubled or lost.
  RunRecord(const RunFolder& folder, bool tensorboard, const RecordPosition& position);

  /// Where the logs stand now; all rows are durable afterwards.
  RecordPosition position(int64_t step);
  /// Adds a row {"kind": ..., ...} to metrics.jsonl.
  void metrics(const JsonValue& row);
  void timing(const JsonValue& row) { timing_.append(row); }
  /// kind: start, warning, save, signal, end, ...
  void event(std::string_view kind, int64_t step, std::string_view message);
  /// A point of a TensorBoard curve; a step that does not rise is left out.
  void scalar(const std::string& tag, int64_t step, double value);
  /// Makes all rows durable.
  void sync();
  void close();

 private:
  JsonlWriter metrics_, timing_, events_;
  std::unique_ptr<EventFileWriter> tensorboard_;
  std::map<std::string, int64_t> last_;
  Sha256 metrics_sha256_;
};

/// Whether metrics.jsonl begins with the bytes of the position.
bool record_is_at(FileSystem& fs, const std::filesystem::path& folder, const RecordPosition& position);

/// ISO 8601, UTC, with seconds.
std::string utc_now();

}  // namespace ballast
