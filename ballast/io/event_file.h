#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <ballast/io/file.h>

namespace ballast {

/// CRC-32C (Castagnoli), and the masked form that event files store: ((c >> 15) | (c << 17)) + 0xa282ead8.
uint32_t crc32c(std::span<const std::byte> bytes);
uint32_t masked_crc32c(std::span<const std::byte> bytes);

struct EventFileOptions {
  /// Step at which this process goes on, if it resumes a run: the file then begins with SessionLog START at this step, so
  /// that TensorBoard drops later points of earlier files. Negative: a new run.
  int64_t resume_step = -1;
  /// Time in the file's name and first event, seconds since 1970; 0: now.
  double wall_time = 0;
};

/// Writes scalars for TensorBoard: a new file `events.out.tfevents.<seconds>.<host>.<pid>.<n>` in `folder`, never appended
/// to after a restart. Points are collected, and flush() writes them in one piece.
///
/// Steps rise per tag: a point at or below the tag's last step is an error of the caller. Values that are not finite are
/// left out.
class EventFileWriter {
 public:
  /// Errors   StorageError with path and cause.
  EventFileWriter(FileSystem& fs, const std::filesystem::path& folder,
                  const EventFileOptions& options = {});
  explicit EventFileWriter(const std::filesystem::path& folder,
                           const EventFileOptions& options = {});

  /// wall_time: seconds since 1970; 0: now.
  /// Errors   std::invalid_argument if the step does not rise.
  void add_scalar(std::string_view tag, int64_t step, double value, double wall_time = 0);
  void flush();
  void close();
  const std::filesystem::path& path() const { return file_->path(); }

 private:
  void add_record(std::string_view event);
  std::unique_ptr<AppendFile> file_;
  std::map<std::string, int64_t, std::less<>> last_step_;
};

}  // namespace ballast
