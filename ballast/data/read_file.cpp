#include <ballast/base/check.h>
#include <ballast/data/read_file.h>
#include <ballast/image/decode.h>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace ballast {
namespace {

constexpr size_t kFirst = size_t{1} << 16;
constexpr size_t kLargest = size_t{1} << 28;

struct File {
  int fd;
  ~File() {
    if (fd >= 0) {
      ::close(fd);
    }
  }
};

/// Reads to the end; -1 and errno if that fails, more than `largest` if the file is larger. With
/// `short_is_end` fewer bytes than asked for mean the end, as they do in regular files.
ssize_t read_all(int fd, std::vector<std::byte>& buffer, size_t largest, bool short_is_end) {
  if (buffer.size() < kFirst) {
    buffer.resize(kFirst);
  }
  size_t have = 0;
  for (;;) {
    const ssize_t n = ::read(fd, buffer.data() + have, buffer.size() - have);
    if (n < 0) {
      if (errno == EINTR) {
        continue;
      }
      return -1;
    }
    have += static_cast<size_t>(n);
    if (have < buffer.size()) {
      if (n == 0 || short_is_end) {
        return static_cast<ssize_t>(have);
      }
    } else {
      if (have > largest) {
        return static_cast<ssize_t>(have);
      }
      buffer.resize(2 * buffer.size());
    }
  }
}

}  // namespace

std::vector<std::byte> read_whole_file(const std::string& path, std::string_view stem) {
  const File file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  check<DataError>(file.fd >= 0, stem, path, ": ", std::strerror(errno));
  std::vector<std::byte> bytes;
  const ssize_t n = read_all(file.fd, bytes, size_t{1} << 40, false);
  check<DataError>(n >= 0, stem, path, ": ", std::strerror(errno));
  bytes.resize(static_cast<size_t>(n));
  return bytes;
}

size_t read_file_at(int folder, const char* name, std::vector<std::byte>& buffer) {
  const File file{::openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  if (file.fd < 0) {
    const int error = errno;
    throw DecodeError(error == ENOENT || error == ENOTDIR || error == ELOOP ? BadReason::missing
                                                                            : BadReason::unreadable,
                      std::strerror(error));
  }
  const ssize_t n = read_all(file.fd, buffer, kLargest, true);
  if (n < 0) {
    const int error = errno;
    throw DecodeError(error == EISDIR ? BadReason::directory : BadReason::unreadable,
                      std::strerror(error));
  }
  if (n == 0) {
    throw DecodeError(BadReason::empty, "0 bytes");
  }
  if (static_cast<size_t>(n) > kLargest) {
    throw DecodeError(BadReason::too_large, "more than 256 MiB");
  }
  return static_cast<size_t>(n);
}

}  // namespace ballast
