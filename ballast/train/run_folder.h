#pragma once

// No torch in this header.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

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

/// A new run folder, locked for the life of this object.
///
/// Errors  std::invalid_argument if the folder exists and is not empty: the text names --overwrite; InUseError if another
///         process holds its lock; StorageError.
class RunFolder {
 public:
  RunFolder(FileSystem& fs, const RunFolderOptions& options);

  const std::filesystem::path& path() const { return path_; }
  FileSystem& fs() const { return fs_; }

  /// Writes a small file of the folder, atomically.
  void write(const std::filesystem::path& name, std::string_view text) const;

 private:
  FileSystem& fs_;
  std::filesystem::path path_;
  std::unique_ptr<FileLock> lock_;
};

/// The logs of a run: metrics.jsonl (what a rerun repeats), timing.jsonl and events.jsonl (what depends on the clock), and
/// TensorBoard events.
class RunRecord {
 public:
  RunRecord(const RunFolder& folder, bool tensorboard);

  /// Adds a row {"kind": ..., ...} to metrics.jsonl.
  void metrics(const JsonValue& row) { metrics_.append(row); }
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
};

/// ISO 8601, UTC, with seconds.
std::string utc_now();

}  // namespace ballast
