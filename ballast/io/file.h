#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ballast {

/// How FileSystem::open opens.
enum class OpenMode {
  /// For reading; the file must exist.
  read,
  /// For writing; the file must not exist (O_CREAT | O_EXCL).
  create_new,
  /// For reading and writing; the file is made if it is missing and keeps what it holds.
  update,
};

struct FolderEntry {
  std::string name;
  bool is_folder = false;
};

struct DiskSpace {
  /// Bytes that an ordinary user can still write, and the size of the whole file system.
  uint64_t free_bytes = 0;
  uint64_t total_bytes = 0;
  uint64_t free_inodes = 0;
};

/// The calls through which every file is written. Nothing else in the project opens a file for writing, so a test can
/// make any call fail (FaultFs).
///
/// Each call is one system call: the result is >= 0, or minus errno. Nothing throws, nothing is retried here.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  /// A descriptor, closed on exec.
  virtual int open(const std::filesystem::path& path, OpenMode mode) = 0;
  /// The next bytes of the file: their number, 0 at the end.
  virtual int64_t read(int file, std::span<std::byte> into) = 0;
  /// Bytes written at `offset`: possibly fewer than asked for.
  virtual int64_t pwrite(int file, std::span<const std::byte> bytes, uint64_t offset) = 0;
  /// Reserves the first `size` bytes on the disk, so that writing them cannot meet a full disk.
  virtual int fallocate(int file, uint64_t size) = 0;
  virtual int truncate(int file, uint64_t size) = 0;
  virtual int64_t size(int file) = 0;
  virtual int fsync(int file) = 0;
  /// The descriptor is gone afterwards, also when the call fails.
  virtual int close(int file) = 0;
  virtual int rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  virtual int mkdir(const std::filesystem::path& path) = 0;
  /// Removes a file, or an empty folder.
  virtual int unlink(const std::filesystem::path& path) = 0;
  /// The names in a folder, without . and .., in byte order.
  virtual int readdir(const std::filesystem::path& path, std::vector<FolderEntry>& entries) = 0;
  /// Makes created, renamed and removed names of a folder durable.
  virtual int fsync_dir(const std::filesystem::path& path) = 0;
  virtual int statvfs(const std::filesystem::path& path, DiskSpace& space) = 0;
  /// Takes an exclusive lock on an open file without waiting; -EWOULDBLOCK if another process holds it.
  virtual int lock(int file) = 0;
};

/// The operating system's files.
class RealFs final : public FileSystem {
 public:
  int open(const std::filesystem::path& path, OpenMode mode) override;
  int64_t read(int file, std::span<std::byte> into) override;
  int64_t pwrite(int file, std::span<const std::byte> bytes, uint64_t offset) override;
  int fallocate(int file, uint64_t size) override;
  int truncate(int file, uint64_t size) override;
  int64_t size(int file) override;
  int fsync(int file) override;
  int close(int file) override;
  int rename(const std::filesystem::path& from, const std::filesystem::path& to) override;
  int mkdir(const std::filesystem::path& path) override;
  int unlink(const std::filesystem::path& path) override;
  int readdir(const std::filesystem::path& path, std::vector<FolderEntry>& entries) override;
  int fsync_dir(const std::filesystem::path& path) override;
  int statvfs(const std::filesystem::path& path, DiskSpace& space) override;
  int lock(int file) override;
};

/// One RealFs for the whole process; what the overloads without a FileSystem use.
FileSystem& real_fs();

/// Which call of a FaultFs fails, and how.
struct FaultOptions {
  /// Number of the failing call, from 1; 0: none.
  int64_t call = 0;
  /// errno of the failure.
  int error_number = 0;
  /// Also every later call fails with it (close still closes, unlink still removes: a process can always do these).
  bool forever = false;
  /// Each pwrite writes at most this many bytes, and each read reads at most so many; 0: no limit.
  uint64_t short_bytes = 0;
};

/// Passes every call on to another FileSystem, except those that it makes fail. To test a function, raise `call` from 1
/// until hit() stays false.
class FaultFs final : public FileSystem {
 public:
  FaultFs(FileSystem& base, FaultOptions options) : base_(base), options_(options) {}
  int open(const std::filesystem::path& path, OpenMode mode) override;
  int64_t read(int file, std::span<std::byte> into) override;
  int64_t pwrite(int file, std::span<const std::byte> bytes, uint64_t offset) override;
  int fallocate(int file, uint64_t size) override;
  int truncate(int file, uint64_t size) override;
  int64_t size(int file) override;
  int fsync(int file) override;
  int close(int file) override;
  int rename(const std::filesystem::path& from, const std::filesystem::path& to) override;
  int mkdir(const std::filesystem::path& path) override;
  int unlink(const std::filesystem::path& path) override;
  int readdir(const std::filesystem::path& path, std::vector<FolderEntry>& entries) override;
  int fsync_dir(const std::filesystem::path& path) override;
  int statvfs(const std::filesystem::path& path, DiskSpace& space) override;
  int lock(int file) override;

  /// Whether a call has failed so far, and the name of the first that did ("fsync").
  bool hit() const { return !failed_call_.empty(); }
  const std::string& failed_call() const { return failed_call_; }
  /// Calls so far.
  int64_t calls() const { return calls_; }

 private:
  bool fails(const char* call);
  FileSystem& base_;
  FaultOptions options_;
  int64_t calls_ = 0;
  std::string failed_call_;
};

/// Writes a file so that a reader, also after a crash or power loss, finds either the old content or the new, whole:
/// temporary `.<name>.tmp-<pid>-<n>` beside the target, all bytes, fsync, close, rename, fsync of the folder.
///
/// Short writes are continued, EINTR is repeated. Missing folders are not made (see make_folders).
/// Errors   StorageError with path, call and cause; the temporary is removed and the old file is untouched. Only when the
///          last step (fsync of the folder) fails is the new file in place; the error says so.
void write_file_atomic(FileSystem& fs, const std::filesystem::path& path,
                       std::span<const std::byte> bytes);
void write_file_atomic(FileSystem& fs, const std::filesystem::path& path, std::string_view text);
/// The same for content in several parts, written one after the other.
void write_file_atomic(FileSystem& fs, const std::filesystem::path& path,
                       std::span<const std::span<const std::byte>> parts);
void write_file_atomic(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file_atomic(const std::filesystem::path& path, std::string_view text);

/// The same for content that is made piece by piece and need not fit in memory: the file appears under its name, whole and
/// durable, at finish(); without it nothing is left behind.
class StagedFile {
 public:
  /// Errors   StorageError, as all functions here.
  StagedFile(FileSystem& fs, std::filesystem::path path);
  ~StagedFile();
  StagedFile(const StagedFile&) = delete;
  StagedFile& operator=(const StagedFile&) = delete;

  /// Reserves the disk for a file of `size` bytes, where the file system can.
  void reserve(uint64_t size);
  /// The next bytes.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  /// Bytes so far.
  uint64_t size() const { return size_; }
  /// fsync, close, rename, fsync of the folder. Once.
  void finish();

 private:
  FileSystem& fs_;
  std::filesystem::path path_, temporary_;
  int file_ = -1;
  uint64_t size_ = 0;
};

/// Writes a file that must not exist yet, durably: space reserved, all bytes, fsync, close. Its name is durable only after
/// fsync_dir of the folder.
/// Errors   StorageError with path, call and cause; the file is removed again.
void write_new_file(FileSystem& fs, const std::filesystem::path& path,
                    std::span<const std::byte> bytes);

/// The whole content of a file.
/// Errors   DataError `[file] cannot read PATH: No such file or directory`; also for a folder, and for a file of more than
///          `max_bytes`.
std::vector<std::byte> read_file(FileSystem& fs, const std::filesystem::path& path,
                                 uint64_t max_bytes = UINT64_MAX);
std::vector<std::byte> read_file(const std::filesystem::path& path,
                                 uint64_t max_bytes = UINT64_MAX);
std::string read_text_file(FileSystem& fs, const std::filesystem::path& path,
                           uint64_t max_bytes = UINT64_MAX);
std::string read_text_file(const std::filesystem::path& path, uint64_t max_bytes = UINT64_MAX);

/// Makes a folder and those above it where they are missing, durably.
/// Errors   StorageError with the path and the cause.
void make_folders(FileSystem& fs, const std::filesystem::path& path);
void make_folders(const std::filesystem::path& path);

/// Removes a file; it is no error if there is none.
/// Errors   StorageError with the path and the cause.
void remove_file(FileSystem& fs, const std::filesystem::path& path);
void remove_file(const std::filesystem::path& path);

/// A file that grows at its end. Bytes are collected and written by flush() in one piece; sync() makes them durable.
/// Safe to use from several threads: append() adds whole pieces.
class AppendFile {
 public:
  /// Opens or makes `path` and goes on at its end.
  /// Errors   StorageError.
  AppendFile(FileSystem& fs, std::filesystem::path path);
  explicit AppendFile(std::filesystem::path path);
  /// Flushes; what cannot be written is lost silently: call close() to know.
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  void append(std::string_view text);
  /// Hands what was collected to the system. After an error the file is cut back to its last whole piece where possible,
  /// and what was not written stays collected.
  void flush();
  /// flush() and fsync.
  void sync();
  /// sync() and close; append() is an error afterwards. Closing twice is fine.
  void close();
  /// Cuts the file to its first `size` bytes and goes on there.
  void cut(uint64_t size);
  /// Bytes written and collected: the offset at which the next piece starts.
  uint64_t size() const;
  const std::filesystem::path& path() const { return path_; }

 private:
  void flush_locked();
  FileSystem& fs_;
  std::filesystem::path path_;
  mutable std::mutex mutex_;
  int file_ = -1;
  uint64_t written_ = 0;
  std::string collected_;
};

/// Holds an exclusive lock on a file (made if missing) for its life; the system releases it if the process dies.
/// The file holds one line that names who has it.
class FileLock {
 public:
  /// Errors   InUseError `[file] PATH is in use by HOLDER`; StorageError.
  FileLock(FileSystem& fs, const std::filesystem::path& path, std::string_view holder);
  FileLock(const std::filesystem::path& path, std::string_view holder);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  FileSystem& fs_;
  int file_ = -1;
};

/// A file's bytes, mapped for reading for the life of the object.
class MappedFile {
 public:
  /// Errors   DataError with the path and the cause.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace ballast
