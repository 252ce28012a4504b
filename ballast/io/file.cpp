#include <ballast/io/file.h>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include <ballast/base/check.h>

namespace ballast {
namespace {

namespace stdfs = std::filesystem;

// EINTR is repeated, but not for ever: a call that is interrupted each time is reported.
constexpr int kMaxInterrupts = 1000;
constexpr const char* kCannotWrite = "cannot write";
constexpr uint64_t kPreallocateFrom = uint64_t{1} << 16;

std::string cause(int error_number) { return std::generic_category().message(error_number); }

template <class Call>
auto repeat_interrupted(Call&& call) {
  auto result = call();
  for (int i = 0; result == -EINTR && i < kMaxInterrupts; ++i) result = call();
  return result;
}

[[noreturn]] void fail_storage(const char* what, const stdfs::path& path, int error_number,
                               const char* call) {
  throw StorageError(
      detail::message("file", what, " ", path.string(), ": ", cause(error_number), " (", call, ")"),
      error_number);
}

[[noreturn]] void fail_read(const stdfs::path& path, int error_number) {
  fail<DataError>("file", "cannot read ", path.string(), ": ", cause(error_number));
}

int last_error() { return errno == 0 ? -EIO : -errno; }

stdfs::path folder_of(const stdfs::path& path) {
  return path.has_parent_path() ? path.parent_path() : stdfs::path(".");
}

// 0, or minus errno.
int write_fully(FileSystem& fs, int file, std::span<const std::byte> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const int64_t n = repeat_interrupted([&] { return fs.pwrite(file, bytes, offset); });
    if (n < 0) return static_cast<int>(n);
    if (n == 0) return -ENOSPC;
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return 0;
}

// A descriptor that is closed when an exception passes.
class OpenFile {
 public:
  OpenFile(FileSystem& fs, int file) : fs_(fs), file_(file) {}
  ~OpenFile() {
    if (file_ >= 0) fs_.close(file_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int get() const { return file_; }
  int close() { return fs_.close(std::exchange(file_, -1)); }
  void release() { file_ = -1; }

 private:
  FileSystem& fs_;
  int file_;
};

template <class Bytes>
Bytes read_whole(FileSystem& fs, const stdfs::path& path, uint64_t max_bytes) {
  const int opened = repeat_interrupted([&] { return fs.open(path, OpenMode::read); });
  if (opened < 0) fail_read(path, -opened);
  OpenFile file(fs, opened);
  const int64_t size = repeat_interrupted([&] { return fs.size(file.get()); });
  if (size < 0) fail_read(path, static_cast<int>(-size));
  check<DataError>(static_cast<uint64_t>(size) <= max_bytes, "file", "cannot read ", path.string(),
                   ": at most ", max_bytes, " bytes are allowed, got ", size);
  Bytes bytes;
  bytes.resize(static_cast<size_t>(size));
  size_t used = 0;
  for (;;) {
    // One byte more than the size was: a file that grew, or one of /proc, is read to its end.
    if (used == bytes.size()) bytes.resize(std::max<size_t>(used + 1, used + used / 2));
    const int64_t n = repeat_interrupted([&] {
      return fs.read(file.get(), std::as_writable_bytes(std::span(bytes)).subspan(used));
    });
    if (n < 0) fail_read(path, static_cast<int>(-n));
    if (n == 0) break;
    used += static_cast<size_t>(n);
    check<DataError>(used <= max_bytes, "file", "cannot read ", path.string(), ": at most ",
                     max_bytes, " bytes are allowed, got more");
  }
  bytes.resize(used);
  return bytes;
}

}  // namespace

int RealFs::open(const stdfs::path& path, OpenMode mode) {
  int flags = O_CLOEXEC;
  switch (mode) {
    case OpenMode::read:
      flags |= O_RDONLY;
      break;
    case OpenMode::create_new:
      flags |= O_WRONLY | O_CREAT | O_EXCL;
      break;
    case OpenMode::update:
      flags |= O_RDWR | O_CREAT;
      break;
  }
  const int file = ::open(path.c_str(), flags, 0666);
  return file >= 0 ? file : last_error();
}

int64_t RealFs::read(int file, std::span<std::byte> into) {
  const ssize_t n = ::read(file, into.data(), into.size());
  return n >= 0 ? n : last_error();
}

int64_t RealFs::pwrite(int file, std::span<const std::byte> bytes, uint64_t offset) {
  const ssize_t n = ::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
  return n >= 0 ? n : last_error();
}

int RealFs::fallocate(int file, uint64_t size) {
  return ::fallocate(file, 0, 0, static_cast<off_t>(size)) == 0 ? 0 : last_error();
}

int RealFs::truncate(int file, uint64_t size) {
  return ::ftruncate(file, static_cast<off_t>(size)) == 0 ? 0 : last_error();
}

int64_t RealFs::size(int file) {
  struct stat info {};
  return ::fstat(file, &info) == 0 ? static_cast<int64_t>(info.st_size) : last_error();
}

int RealFs::fsync(int file) { return ::fsync(file) == 0 ? 0 : last_error(); }

int RealFs::close(int file) { return ::close(file) == 0 ? 0 : last_error(); }

int RealFs::rename(const stdfs::path& from, const stdfs::path& to) {
  return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : last_error();
}

int RealFs::mkdir(const stdfs::path& path) {
  return ::mkdir(path.c_str(), 0777) == 0 ? 0 : last_error();
}

int RealFs::unlink(const stdfs::path& path) {
  if (::unlink(path.c_str()) == 0) return 0;
  return errno == EISDIR && ::rmdir(path.c_str()) == 0 ? 0 : last_error();
}

int RealFs::readdir(const stdfs::path& path, std::vector<FolderEntry>& entries) {
  entries.clear();
  std::error_code error;
  for (stdfs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    std::error_code unknown;
    entries.push_back({it->path().filename().string(), it->is_directory(unknown)});
  }
  if (error) return -error.value();
  std::ranges::sort(entries, {}, &FolderEntry::name);
  return 0;
}

int RealFs::fsync_dir(const stdfs::path& path) {
  const int folder = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return last_error();
  int result = ::fsync(folder) == 0 ? 0 : last_error();
  // Some file systems have no fsync for folders.
  if (result == -EINVAL) result = 0;
  ::close(folder);
  return result;
}

int RealFs::statvfs(const stdfs::path& path, DiskSpace& space) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) != 0) return last_error();
  space.free_bytes = uint64_t{info.f_bavail} * info.f_frsize;
  space.total_bytes = uint64_t{info.f_blocks} * info.f_frsize;
  space.free_inodes = info.f_favail;
  return 0;
}

int RealFs::lock(int file) { return ::flock(file, LOCK_EX | LOCK_NB) == 0 ? 0 : last_error(); }

FileSystem& real_fs() {
  static RealFs fs;
  return fs;
}

bool FaultFs::fails(const char* call) {
  ++calls_;
  if (options_.call == 0 || calls_ < options_.call) return false;
  if (calls_ > options_.call && !options_.forever) return false;
  if (failed_call_.empty()) failed_call_ = call;
  return true;
}

int FaultFs::open(const stdfs::path& path, OpenMode mode) {
  return fails("open") ? -options_.error_number : base_.open(path, mode);
}

int64_t FaultFs::read(int file, std::span<std::byte> into) {
  if (fails("read")) return -options_.error_number;
  if (options_.short_bytes != 0) {
    into = into.first(std::min<size_t>(into.size(), options_.short_bytes));
  }
  return base_.read(file, into);
}

int64_t FaultFs::pwrite(int file, std::span<const std::byte> bytes, uint64_t offset) {
  if (fails("pwrite")) return -options_.error_number;
  if (options_.short_bytes != 0) {
    bytes = bytes.first(std::min<size_t>(bytes.size(), options_.short_bytes));
  }
  return base_.pwrite(file, bytes, offset);
}

int FaultFs::fallocate(int file, uint64_t size) {
  return fails("fallocate") ? -options_.error_number : base_.fallocate(file, size);
}

int FaultFs::truncate(int file, uint64_t size) {
  return fails("truncate") ? -options_.error_number : base_.truncate(file, size);
}

int64_t FaultFs::size(int file) {
  return fails("size") ? -options_.error_number : base_.size(file);
}

int FaultFs::fsync(int file) { return fails("fsync") ? -options_.error_number : base_.fsync(file); }

int FaultFs::close(int file) {
  const int result = base_.close(file);
  return fails("close") ? -options_.error_number : result;
}

int FaultFs::rename(const stdfs::path& from, const stdfs::path& to) {
  return fails("rename") ? -options_.error_number : base_.rename(from, to);
}

int FaultFs::mkdir(const stdfs::path& path) {
  return fails("mkdir") ? -options_.error_number : base_.mkdir(path);
}

int FaultFs::unlink(const stdfs::path& path) {
  const bool first = !hit();
  return fails("unlink") && first ? -options_.error_number : base_.unlink(path);
}

int FaultFs::readdir(const stdfs::path& path, std::vector<FolderEntry>& entries) {
  return fails("readdir") ? -options_.error_number : base_.readdir(path, entries);
}

int FaultFs::fsync_dir(const stdfs::path& path) {
  return fails("fsync_dir") ? -options_.error_number : base_.fsync_dir(path);
}

int FaultFs::statvfs(const stdfs::path& path, DiskSpace& space) {
  return fails("statvfs") ? -options_.error_number : base_.statvfs(path, space);
}

int FaultFs::lock(int file) { return fails("lock") ? -options_.error_number : base_.lock(file); }

StagedFile::StagedFile(FileSystem& fs, stdfs::path path) : fs_(fs), path_(std::move(path)) {
  static std::atomic<uint64_t> counter{0};
  // rename would silently replace a file that its owner made read-only.
  std::error_code unknown;
  const auto status = stdfs::status(path_, unknown);
  if (!unknown && stdfs::is_regular_file(status) &&
      (status.permissions() & (stdfs::perms::owner_write | stdfs::perms::group_write |
                               stdfs::perms::others_write)) == stdfs::perms::none) {
    throw StorageError(
        detail::message("file", kCannotWrite, " ", path_.string(), ": the file is read-only"),
        EACCES);
  }
  int opened = -EEXIST;
  for (int i = 0; opened == -EEXIST && i < 100; ++i) {
    temporary_ = folder_of(path_) / ("." + path_.filename().string() + ".tmp-" +
                                     std::to_string(::getpid()) + "-" + std::to_string(counter++));
    opened = repeat_interrupted([&] { return fs_.open(temporary_, OpenMode::create_new); });
  }
  if (opened < 0) fail_storage(kCannotWrite, path_, -opened, "open");
  file_ = opened;
}

StagedFile::~StagedFile() {
  if (file_ >= 0) fs_.close(file_);
  if (!temporary_.empty()) repeat_interrupted([&] { return fs_.unlink(temporary_); });
}

void StagedFile::reserve(uint64_t size) {
  const int result = repeat_interrupted([&] { return fs_.fallocate(file_, size); });
  // Not every file system can preallocate: then writing itself finds out.
  if (result < 0 && result != -EOPNOTSUPP && result != -ENOSYS && result != -EINVAL) {
    fail_storage(kCannotWrite, path_, -result, "fallocate");
  }
}

void StagedFile::write(std::span<const std::byte> bytes) {
  if (const int result = write_fully(fs_, file_, bytes, size_); result < 0) {
    fail_storage(kCannotWrite, path_, -result, "write");
  }
  size_ += bytes.size();
}

void StagedFile::finish() {
  if (const int result = repeat_interrupted([&] { return fs_.fsync(file_); }); result < 0) {
    fail_storage(kCannotWrite, path_, -result, "fsync");
  }
  // An interrupted close has closed the descriptor, and the content is durable already.
  if (const int result = fs_.close(std::exchange(file_, -1)); result < 0 && result != -EINTR) {
    fail_storage(kCannotWrite, path_, -result, "close");
  }
  if (const int result = repeat_interrupted([&] { return fs_.rename(temporary_, path_); });
      result < 0) {
    fail_storage(kCannotWrite, path_, -result, "rename");
  }
  temporary_.clear();
  if (const int result = repeat_interrupted([&] { return fs_.fsync_dir(folder_of(path_)); });
      result < 0) {
    fail_storage("written, but perhaps not durable:", path_, -result, "fsync of the folder");
  }
}

void write_file_atomic(FileSystem& fs, const stdfs::path& path,
                       std::span<const std::span<const std::byte>> parts) {
  StagedFile file(fs, path);
  uint64_t total = 0;
  for (const auto& part : parts) total += part.size();
  if (total >= kPreallocateFrom) file.reserve(total);
  for (const auto& part : parts) file.write(part);
  file.finish();
}

void write_file_atomic(FileSystem& fs, const stdfs::path& path, std::span<const std::byte> bytes) {
  write_file_atomic(fs, path, std::span(&bytes, 1));
}

void write_file_atomic(FileSystem& fs, const stdfs::path& path, std::string_view text) {
  write_file_atomic(fs, path, std::as_bytes(std::span(text)));
}

void write_file_atomic(const stdfs::path& path, std::span<const std::byte> bytes) {
  write_file_atomic(real_fs(), path, bytes);
}

void write_file_atomic(const stdfs::path& path, std::string_view text) {
  write_file_atomic(real_fs(), path, text);
}

void write_new_file(FileSystem& fs, const stdfs::path& path, std::span<const std::byte> bytes) {
  const int file = repeat_interrupted([&] { return fs.open(path, OpenMode::create_new); });
  if (file < 0) fail_storage(kCannotWrite, path, -file, "open");
  const char* call = "fallocate";
  int result = repeat_interrupted([&] { return fs.fallocate(file, bytes.size()); });
  // Not every file system can preallocate (and none nothing): then writing itself finds out.
  if (result == -EOPNOTSUPP || result == -ENOSYS || result == -EINVAL) result = 0;
  if (result >= 0) {
    call = "write";
    result = write_fully(fs, file, bytes, 0);
  }
  if (result >= 0) {
    call = "fsync";
    result = repeat_interrupted([&] { return fs.fsync(file); });
  }
  // An interrupted close has closed the descriptor, and the content is durable already.
  const int closed = fs.close(file);
  if (result >= 0 && closed < 0 && closed != -EINTR) {
    call = "close";
    result = closed;
  }
  if (result < 0) {
    repeat_interrupted([&] { return fs.unlink(path); });
    fail_storage(kCannotWrite, path, -result, call);
  }
}

std::vector<std::byte> read_file(FileSystem& fs, const stdfs::path& path, uint64_t max_bytes) {
  return read_whole<std::vector<std::byte>>(fs, path, max_bytes);
}

std::vector<std::byte> read_file(const stdfs::path& path, uint64_t max_bytes) {
  return read_file(real_fs(), path, max_bytes);
}

std::string read_text_file(FileSystem& fs, const stdfs::path& path, uint64_t max_bytes) {
  return read_whole<std::string>(fs, path, max_bytes);
}

std::string read_text_file(const stdfs::path& path, uint64_t max_bytes) {
  return read_text_file(real_fs(), path, max_bytes);
}

void make_folders(FileSystem& fs, const stdfs::path& path) {
  constexpr const char* kWhat = "cannot make the folder";
  stdfs::path so_far;
  for (const auto& part : path) {
    so_far /= part;
    if (part.empty() || part == "." || part == ".." || so_far == so_far.root_path()) continue;
    const int result = repeat_interrupted([&] { return fs.mkdir(so_far); });
    if (result == 0) {
      const int synced = repeat_interrupted([&] { return fs.fsync_dir(folder_of(so_far)); });
      if (synced < 0) fail_storage(kWhat, so_far, -synced, "fsync of the folder");
      continue;
    }
    std::error_code unknown;
    if (stdfs::is_directory(so_far, unknown)) continue;
    fail_storage(kWhat, so_far, -result, "mkdir");
  }
}

void make_folders(const stdfs::path& path) { make_folders(real_fs(), path); }

void remove_file(FileSystem& fs, const stdfs::path& path) {
  std::vector<FolderEntry> entries;  // unlink takes an empty folder, too
  if (fs.readdir(path, entries) >= 0) fail_storage("cannot remove", path, EISDIR, "unlink");
  const int result = repeat_interrupted([&] { return fs.unlink(path); });
  if (result < 0 && result != -ENOENT) fail_storage("cannot remove", path, -result, "unlink");
}

void remove_file(const stdfs::path& path) { remove_file(real_fs(), path); }

AppendFile::AppendFile(FileSystem& fs, stdfs::path path) : fs_(fs), path_(std::move(path)) {
  const int opened = repeat_interrupted([&] { return fs_.open(path_, OpenMode::update); });
  if (opened < 0) fail_storage("cannot write", path_, -opened, "open");
  OpenFile file(fs_, opened);
  const int64_t size = repeat_interrupted([&] { return fs_.size(opened); });
  if (size < 0) fail_storage("cannot write", path_, static_cast<int>(-size), "stat");
  const int synced = repeat_interrupted([&] { return fs_.fsync_dir(folder_of(path_)); });
  if (synced < 0) fail_storage("cannot write", path_, -synced, "fsync of the folder");
  written_ = static_cast<uint64_t>(size);
  file_ = opened;
  file.release();
}

AppendFile::AppendFile(stdfs::path path) : AppendFile(real_fs(), std::move(path)) {}

AppendFile::~AppendFile() {
  if (file_ < 0) return;
  try {
    flush();
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): the contract says so
  }
  fs_.close(file_);
}

void AppendFile::append(std::string_view text) {
  const std::scoped_lock lock(mutex_);
  check<std::logic_error>(file_ >= 0, "file", path_.string(), " must be open, got a closed file");
  collected_ += text;
}

void AppendFile::flush_locked() {
  if (collected_.empty()) return;
  const int result = write_fully(fs_, file_, std::as_bytes(std::span(collected_)), written_);
  if (result < 0) {
    repeat_interrupted([&] { return fs_.truncate(file_, written_); });
    fail_storage("cannot write", path_, -result, "write");
  }
  written_ += collected_.size();
  collected_.clear();
}

void AppendFile::flush() {
  const std::scoped_lock lock(mutex_);
  flush_locked();
}

void AppendFile::sync() {
  const std::scoped_lock lock(mutex_);
  flush_locked();
  const int result = repeat_interrupted([&] { return fs_.fsync(file_); });
  if (result < 0) fail_storage("cannot write", path_, -result, "fsync");
}

void AppendFile::close() {
  if (file_ < 0) return;
  sync();
  const std::scoped_lock lock(mutex_);
  const int result = fs_.close(std::exchange(file_, -1));
  if (result < 0 && result != -EINTR) fail_storage("cannot write", path_, -result, "close");
}

void AppendFile::cut(uint64_t size) {
  const std::scoped_lock lock(mutex_);
  flush_locked();
  check(size <= written_, "file", "cut of ", path_.string(), " must leave at most ", written_,
        " bytes, got ", size);
  const int result = repeat_interrupted([&] { return fs_.truncate(file_, size); });
  if (result < 0) fail_storage("cannot write", path_, -result, "truncate");
  written_ = size;
}

uint64_t AppendFile::size() const {
  const std::scoped_lock lock(mutex_);
  return written_ + collected_.size();
}

FileLock::FileLock(FileSystem& fs, const stdfs::path& path, std::string_view holder) : fs_(fs) {
  const int opened = repeat_interrupted([&] { return fs.open(path, OpenMode::update); });
  if (opened < 0) fail_storage("cannot lock", path, -opened, "open");
  OpenFile file(fs, opened);
  const int locked = repeat_interrupted([&] { return fs.lock(opened); });
  if (locked == -EWOULDBLOCK) {
    std::string who = read_text_file(fs, path, 4096);
    while (!who.empty() && who.back() == '\n') who.pop_back();
    fail<InUseError>("file", path.string(), " is in use by ",
                     who.empty() ? std::string("another process") : who);
  }
  if (locked < 0) fail_storage("cannot lock", path, -locked, "flock");
  const std::string line = std::string(holder) + "\n";
  int result = repeat_interrupted([&] { return fs.truncate(opened, 0); });
  if (result >= 0) result = write_fully(fs, opened, std::as_bytes(std::span(line)), 0);
  if (result < 0) fail_storage("cannot lock", path, -result, "write");
  file_ = opened;
  file.release();
}

FileLock::FileLock(const stdfs::path& path, std::string_view holder)
    : FileLock(real_fs(), path, holder) {}

FileLock::~FileLock() { fs_.close(file_); }

MappedFile::MappedFile(const stdfs::path& path) {
  FileSystem& fs = real_fs();
  const int opened = repeat_interrupted([&] { return fs.open(path, OpenMode::read); });
  if (opened < 0) fail_read(path, -opened);
  OpenFile file(fs, opened);
  const int64_t size = repeat_interrupted([&] { return fs.size(opened); });
  if (size < 0) fail_read(path, static_cast<int>(-size));
  if (size == 0) return;
  void* data = ::mmap(nullptr, static_cast<size_t>(size), PROT_READ, MAP_PRIVATE, opened, 0);
  if (data == MAP_FAILED) fail_read(path, errno);
  data_ = static_cast<const std::byte*>(data);
  size_ = static_cast<size_t>(size);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace ballast
