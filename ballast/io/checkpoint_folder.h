#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <ballast/io/file.h>

namespace ballast {

/// Version of the format that is written; every version up to it is read.
inline constexpr int64_t kCheckpointVersion = 1;

/// What MANIFEST.json says beside the list of files.
struct CheckpointInfo {
  /// Optimizer steps done, which name the folder, and the same in epochs.
  int64_t step = 0;
  double epoch = 0;
  /// False: a value is NaN or infinite, or training diverged. It is kept apart and pushes nothing out.
  bool finite = true;
  /// The monitored metric and its value at this step, if it was checked here.
  std::string monitor;
  std::optional<double> value;
  /// Further facts by name: digests of configuration and data, fingerprint, version.
  std::map<std::string, std::string> facts;
};

struct CheckpointFile {
  std::string name;
  std::vector<std::byte> bytes;
};

/// A checkpoint whose every byte was found as it was written.
struct Checkpoint {
  /// Name of its folder: "step-000012345".
  std::string name;
  CheckpointInfo info;
  /// Digest of the manifest, and that of the checkpoint before it ("" if there was none).
  std::string self, parent;
  std::map<std::string, std::vector<std::byte>> files;

  /// Errors   DataError that names the file that is missing.
  const std::vector<std::byte>& file(const std::string& file_name) const;
};

/// Which checkpoints stay.
struct CheckpointKeep {
  /// The newest; never fewer than 2 that are known to be good.
  int64_t last = 2;
  /// Those of the best values, and whether larger is better.
  int64_t best = 1;
  bool maximize = false;
};

/// The folder checkpoints/ of a run.
///
///   step-000012345/ {files, MANIFEST.json}    last, best (one line: a folder's name; hints)    quarantine/    .spare
///
/// Save     into .tmp-<name>-<8 hex>/: every file reserved, written, fsynced and closed, the manifest (name, size and
///          SHA-256 of each file, and a SHA-256 of itself) last; fsync of the folder; rename; fsync of checkpoints/; then it
///          is read back. A crash at any moment leaves every older checkpoint, and the new one whole or not at all.
/// Spare    .spare holds room for the next save, so that another program that fills the disk cannot prevent the last one.
/// Load     newest first; a manifest that is not as written, a missing, further or changed file make a checkpoint unusable:
///          the next older one is taken, nothing is deleted.
/// One process at a time may write: the run folder's lock.
class CheckpointFolder {
 public:
  CheckpointFolder(FileSystem& fs, std::filesystem::path path);

  /// Saves, reads back, and returns the folder's name. A folder of that name that is already there is replaced.
  /// Errors   StorageError with path and cause; what was written so far is removed.
  std::string save(const CheckpointInfo& info, const std::vector<CheckpointFile>& files);
  /// Names of all checkpoints, newest first; good or not.
  std::vector<std::string> names() const;
  /// Errors   DataError `[checkpoint] PATH: what is wrong`.
  Checkpoint read(const std::string& name) const;
  /// Says that a checkpoint was loaded: the next one's parent, and one of those that are known to be good.
  void loaded(const Checkpoint& checkpoint);
  /// Removes what is not to be kept. Errors: StorageError.
  void prune(const CheckpointKeep& keep);
  /// Removes what an interrupted save or prune left behind, and a spare.
  void remove_leftovers();
  /// Moves a checkpoint to quarantine/ and returns where to. Errors: StorageError.
  std::filesystem::path quarantine(const std::string& name);

  const std::filesystem::path& path() const { return path_; }

 private:
  void require_space(uint64_t bytes);
  std::string manifest_text(const CheckpointInfo& info, const std::vector<CheckpointFile>& files) const;
  void read_back(const std::filesystem::path& folder, const std::string& name) const;
  void put_in_place(const std::filesystem::path& from, const std::string& name, bool finite);
  void write_pointer(const char* pointer, const std::string& name);
  void make_spare(uint64_t bytes);
  void remove_folder(const std::filesystem::path& folder);
  Checkpoint read_at(const std::filesystem::path& folder, const std::string& name) const;

  FileSystem& fs_;
  std::filesystem::path path_;
  std::string parent_;
  std::set<std::string> verified_;
  std::map<std::string, double> values_;
};

/// The step in a checkpoint's name, or nothing if it is not one.
std::optional<int64_t> checkpoint_step(const std::string& name);
/// "step-000012345"
std::string checkpoint_name(int64_t step);

}  // namespace ballast
