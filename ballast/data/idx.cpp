#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/data/idx.h>
#include <ballast/data/read_file.h>

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <limits>

namespace ballast {
namespace {

int64_t width_of(uint8_t type) {
  switch (type) {
    case 0x08:
    case 0x09:
      return 1;
    case 0x0B:
      return 2;
    case 0x0C:
    case 0x0D:
      return 4;
    case 0x0E:
      return 8;
    default:
      return 0;
  }
}

std::string hex_bytes(std::span<const std::byte> bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const std::byte b : bytes) {
    if (!text.empty()) {
      text += ' ';
    }
    text += digits[std::to_integer<size_t>(b) >> 4];
    text += digits[std::to_integer<size_t>(b) & 15];
  }
  return text;
}

/// The bytes of a file, inflated if they are gzip's.
class Input {
 public:
  Input(const std::string& path, std::vector<std::byte> bytes)
      : path_(path), bytes_(std::move(bytes)) {
    if (bytes_.size() >= 2 && bytes_[0] == std::byte{0x1f} && bytes_[1] == std::byte{0x8b}) {
      check<DataError>(inflateInit2(&stream_, 16 + MAX_WBITS) == Z_OK, "idx", path_,
                       ": zlib cannot start");
      compressed_ = true;
      stream_.next_in = reinterpret_cast<Bytef*>(bytes_.data());
    }
  }
  ~Input() {
    if (compressed_) {
      inflateEnd(&stream_);
    }
  }
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  /// The next bytes; fewer than asked for only at the end.
  size_t read(std::span<std::byte> out) {
    if (!compressed_) {
      const size_t n = std::min(out.size(), bytes_.size() - at_);
      std::copy_n(bytes_.begin() + static_cast<ptrdiff_t>(at_), n, out.begin());
      at_ += n;
      return n;
    }
    size_t done = 0;
    while (done < out.size() && !ended_) {
      constexpr size_t kPiece = size_t{1} << 30;  // zlib counts in 32 bits
      const size_t room = std::min(out.size() - done, kPiece);
      const size_t input = std::min(bytes_.size() - at_, kPiece);
      stream_.avail_out = static_cast<uInt>(room);
      stream_.next_out = reinterpret_cast<Bytef*>(out.data() + done);
      stream_.avail_in = static_cast<uInt>(input);
      const int code = inflate(&stream_, Z_NO_FLUSH);
      at_ += input - stream_.avail_in;
      done += room - stream_.avail_out;
      if (code == Z_STREAM_END) {
        ended_ = true;
      } else {
        check<DataError>(code == Z_OK, "idx", path_, ": the gzip data are ",
                         code == Z_BUF_ERROR ? "cut off" : "corrupt", " after ", at_, " bytes");
      }
    }
    return done;
  }
  bool compressed() const { return compressed_; }

 private:
  const std::string& path_;
  std::vector<std::byte> bytes_;
  size_t at_ = 0;
  bool compressed_ = false, ended_ = false;
  z_stream stream_{};
};

}  // namespace

int64_t IdxArray::integer(int64_t i) const {
  const int64_t width = width_of(type);
  const std::byte* p = bytes.data() + i * width;
  uint32_t value = 0;
  for (int64_t k = 0; k < width; ++k) {
    value = value << 8 | std::to_integer<uint32_t>(p[k]);
  }
  switch (type) {
    case 0x08:
      return value;
    case 0x09:
      return static_cast<int8_t>(value);
    case 0x0B:
      return static_cast<int16_t>(value);
    case 0x0C:
      return static_cast<int32_t>(value);
    default:
      fail("idx", "the values are not integers");
  }
}

IdxArray read_idx(const std::string& path) {
  Input input(path, read_whole_file(path, "idx"));
  std::byte magic[4];
  const size_t got = input.read(magic);
  check<DataError>(got == 4 && magic[0] == std::byte{0} && magic[1] == std::byte{0}, "idx", path,
                   ": must start with the bytes 00 00 TYPE DIMS, got ",
                   got == 0 ? "nothing" : hex_bytes(std::span(magic).first(got)));
  IdxArray array;
  array.type = std::to_integer<uint8_t>(magic[2]);
  const int64_t width = width_of(array.type);
  check<DataError>(width > 0, "idx", path, ": type must be one of 08, 09, 0b, 0c, 0d, 0e, got ",
                   hex_bytes(std::span(magic).subspan(2, 1)));
  const auto dims = std::to_integer<size_t>(magic[3]);
  check<DataError>(dims >= 1 && dims <= 8, "idx", path, ": must have 1 to 8 dimensions, got ",
                   dims);
  int64_t total = width;
  bool fits = true;
  for (size_t d = 0; d < dims; ++d) {
    std::byte size[4];
    check<DataError>(input.read(size) == 4, "idx", path, ": ends within its header");
    array.sizes.push_back(
        std::to_integer<int64_t>(size[0]) << 24 | std::to_integer<int64_t>(size[1]) << 16 |
        std::to_integer<int64_t>(size[2]) << 8 | std::to_integer<int64_t>(size[3]));
    fits = fits && !__builtin_mul_overflow(total, array.sizes.back(), &total);
  }
  constexpr int64_t kMost = int64_t{1} << 40;
  check<DataError>(fits && total <= kMost, "idx", path, ": the header claims ",
                   size_text(array.sizes), " values, which is too many");
  // Memory grows with what is there, not with what the header claims.
  constexpr int64_t kStep = int64_t{1} << 26;
  int64_t have = 0;
  while (have < total) {
    const int64_t step = std::min(kStep, total - have);
    array.bytes.resize(static_cast<size_t>(have + step));
    const auto n =
        static_cast<int64_t>(input.read(std::span(array.bytes).subspan(static_cast<size_t>(have))));
    have += n;
    check<DataError>(n == step, "idx", path, ": ", size_text(array.sizes), " needs ", total,
                     " bytes after the header, got ", have);
  }
  std::byte extra;
  check<DataError>(input.read(std::span(&extra, 1)) == 0, "idx", path, ": ", size_text(array.sizes),
                   " needs ", total, " bytes after the header, got more");
  return array;
}

}  // namespace ballast
