#include <ballast/io/zip_file.h>

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <deque>

#include <ballast/base/check.h>

namespace ballast {
namespace {

constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50,
                   kEnd64Locator = 0x07064b50;
constexpr size_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22, kEnd64Size = 56, kEnd64LocatorSize = 20;
constexpr uint64_t kAlignment = 64;
constexpr uint16_t kPaddingField = 0x4246;  // "FB", as PyTorch's writer pads

using Bytes = std::span<const std::byte>;

uint64_t number(Bytes bytes, size_t at, size_t size) {
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i) value |= std::to_integer<uint64_t>(bytes[at + i]) << (8 * i);
  return value;
}
uint16_t u16(Bytes b, size_t at) { return static_cast<uint16_t>(number(b, at, 2)); }
uint32_t u32(Bytes b, size_t at) { return static_cast<uint32_t>(number(b, at, 4)); }
uint64_t u64(Bytes b, size_t at) { return number(b, at, 8); }

uint32_t crc_of(Bytes bytes, uint32_t crc = 0) {
  return static_cast<uint32_t>(crc32_z(crc, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

std::string hex(uint32_t value) {
  std::array<char, 9> text{};
  std::snprintf(text.data(), text.size(), "%08x", value);
  return text.data();
}

struct Directory {
  uint64_t begin = 0, size = 0, count = 0;
};

/// Where the directory stands, from the record at the file's end.
Directory find_directory(Bytes file, const std::string& label) {
  check<DataError>(file.size() >= kEndSize, "zip", label, " must be a zip archive, got ", file.size(),
                   " bytes: the file is truncated");
  const size_t last = file.size() - kEndSize;
  const size_t first = last > 65535 ? last - 65535 : 0;
  size_t at = last + 1;
  while (at-- > first) {
    if (u32(file, at) == kEnd && at + kEndSize + u16(file, at + 20) == file.size()) break;
  }
  check<DataError>(at + 1 > first, "zip", label,
                   " must end with a zip directory, got none: the file is truncated or no archive");
  Directory d{u32(file, at + 16), u32(file, at + 12), u16(file, at + 10)};
  const bool parts = u16(file, at + 4) != 0 || u16(file, at + 6) != 0 || u16(file, at + 8) != u16(file, at + 10);
  uint64_t limit = at;
  if (at >= kEnd64LocatorSize && u32(file, at - kEnd64LocatorSize) == kEnd64Locator) {
    const uint64_t end64 = u64(file, at - kEnd64LocatorSize + 8);
    check<DataError>(end64 <= at - kEnd64LocatorSize && at - kEnd64LocatorSize - end64 >= kEnd64Size &&
                         u32(file, static_cast<size_t>(end64)) == kEnd64,
                     "zip", label, " must hold the Zip64 record that its end names, got another place");
    const auto place = static_cast<size_t>(end64);
    d = {u64(file, place + 48), u64(file, place + 40), u64(file, place + 32)};
    limit = end64;
  }
  check<DataError>(!parts, "zip", label, " must be one archive, got a part of several");
  check<DataError>(d.begin <= limit && d.size == limit - d.begin, "zip", label, " must hold its directory in bytes ", d.begin,
                   " to ", d.begin + d.size, ", got an end record at ", limit, ": the file is damaged");
  check<DataError>(d.count <= d.size / kCentralSize, "zip", label, " must have a directory for ", d.count, " files, got ",
                   d.size, " bytes");
  return d;
}

/// Sizes and offsets that do not fit 32 bits stand in an extra field, in this order.
void read_zip64(Bytes extra, uint64_t& size, uint64_t& stored, uint64_t& offset, const std::string& label) {
  for (size_t at = 0; at + 4 <= extra.size();) {
    const size_t length = u16(extra, at + 2);
    check<DataError>(at + 4 + length <= extra.size(), "zip", label, " must have whole extra fields, got a cut one");
    if (u16(extra, at) == 1) {
      size_t place = at + 4;
      for (uint64_t* value : {&size, &stored, &offset}) {
        if (*value != UINT32_MAX) continue;
        check<DataError>(place + 8 <= at + 4 + length, "zip", label, " must have whole Zip64 fields, got a cut one");
        *value = u64(extra, place);
        place += 8;
      }
      return;
    }
    at += 4 + length;
  }
}

/// A growing piece of the archive, little-endian.
class Writer {
 public:
  void put(uint64_t value, size_t size) {
    for (size_t i = 0; i < size; ++i, value >>= 8) bytes_.push_back(static_cast<std::byte>(value & 255));
  }
  void text(std::string_view t) {
    for (const char c : t) bytes_.push_back(static_cast<std::byte>(c));
  }
  size_t size() const { return bytes_.size(); }
  Bytes bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

uint64_t low32(uint64_t value) { return std::min<uint64_t>(value, UINT32_MAX); }

}  // namespace

ZipFile ZipFile::open(const std::filesystem::path& path) {
  ZipFile file;
  file.label_ = path.string();
  file.mapped_.emplace(path);
  file.read_directory();
  return file;
}

ZipFile ZipFile::from_bytes(std::vector<std::byte> bytes, std::string_view label) {
  ZipFile file;
  file.label_ = label;
  file.owned_ = std::move(bytes);
  file.read_directory();
  return file;
}

void ZipFile::read_directory() {
  const Bytes file = all();
  const Directory d = find_directory(file, label_);
  const Bytes central = file.subspan(static_cast<size_t>(d.begin), static_cast<size_t>(d.size));
  size_t at = 0;
  for (uint64_t i = 0; i < d.count; ++i) {
    check<DataError>(central.size() - at >= kCentralSize && u32(central, at) == kCentral, "zip", label_,
                     " must have a directory of ", d.count, " files, got ", i, ": the file is damaged");
    const size_t name_size = u16(central, at + 28), extra_size = u16(central, at + 30), comment = u16(central, at + 32);
    check<DataError>(central.size() - at - kCentralSize >= name_size + extra_size + comment, "zip", label_,
                     " must have a whole directory, got a cut entry");
    ZipEntry e;
    e.name.assign(reinterpret_cast<const char*>(central.data()) + at + kCentralSize, name_size);
    e.crc = u32(central, at + 16);
    e.stored_size = u32(central, at + 20);
    e.size = u32(central, at + 24);
    uint64_t offset = u32(central, at + 42);
    read_zip64(central.subspan(at + kCentralSize + name_size, extra_size), e.size, e.stored_size, offset, label_);
    const uint16_t method = u16(central, at + 10);
    check<DataError>((u16(central, at + 8) & 1) == 0, "zip", label_, ": ", e.name, " must not be encrypted");
    check<DataError>(method == 0 || method == 8, "zip", label_, ": ", e.name, " must be stored or deflated, got method ",
                     method);
    e.deflated = method == 8;
    check<DataError>(e.deflated || e.size == e.stored_size, "zip", label_, ": ", e.name, " must be stored in ", e.size,
                     " bytes, got ", e.stored_size);
    check<DataError>(offset <= d.begin && d.begin - offset >= kLocalSize && u32(file, static_cast<size_t>(offset)) == kLocal,
                     "zip", label_, ": ", e.name, " must start at byte ", offset, ", got something else: the file is damaged");
    const auto local = static_cast<size_t>(offset);
    e.begin = offset + kLocalSize + u16(file, local + 26) + u16(file, local + 28);
    check<DataError>(e.begin <= d.begin && e.stored_size <= d.begin - e.begin, "zip", label_, ": ", e.name, " must have ",
                     e.stored_size, " bytes in the file: it is truncated or damaged");
    entries_.push_back(std::move(e));
    at += kCentralSize + name_size + extra_size + comment;
  }
  std::sort(entries_.begin(), entries_.end(), [](const ZipEntry& a, const ZipEntry& b) { return a.name < b.name; });
  for (size_t i = 1; i < entries_.size(); ++i) {
    check<DataError>(entries_[i].name != entries_[i - 1].name, "zip", label_, " must hold each name once, got ",
                     entries_[i].name, " twice");
  }
}

const ZipEntry* ZipFile::find(std::string_view name) const {
  const auto at = std::lower_bound(entries_.begin(), entries_.end(), name,
                                   [](const ZipEntry& e, std::string_view n) { return e.name < n; });
  return at != entries_.end() && at->name == name ? &*at : nullptr;
}

std::span<const std::byte> ZipFile::bytes(const ZipEntry& entry) const {
  check<DataError>(!entry.deflated, "zip", label_, ": ", entry.name, " must be stored, got a compressed file");
  return all().subspan(static_cast<size_t>(entry.begin), static_cast<size_t>(entry.size));
}

namespace {

/// Unpacks a deflated entry piece by piece; `out` gives room for the next piece (empty: there must be none) and `got` tells
/// how much of it was filled. True if the stream ends with its bytes.
template <class Out, class Got>
bool inflate_entry(Bytes packed, Out out, Got got) {
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) return false;
  int state = Z_OK;
  while (state == Z_OK) {
    if (stream.avail_in == 0) {
      const size_t n = std::min<size_t>(packed.size(), size_t{1} << 30);
      stream.next_in = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(packed.data()));
      stream.avail_in = static_cast<unsigned>(n);
      packed = packed.subspan(n);
    }
    const std::span<std::byte> room = out();
    stream.next_out = reinterpret_cast<unsigned char*>(room.data());
    stream.avail_out = static_cast<unsigned>(std::min<size_t>(room.size(), size_t{1} << 30));
    const unsigned before = stream.avail_out;
    state = inflate(&stream, Z_NO_FLUSH);
    got(room.first(before - stream.avail_out));
  }
  inflateEnd(&stream);
  return state == Z_STREAM_END;
}

}  // namespace

std::span<const std::byte> ZipFile::read(const ZipEntry& entry, std::vector<std::byte>& buffer, uint64_t max_bytes) const {
  check<DataError>(entry.size <= max_bytes, "zip", label_, ": ", entry.name, " must unpack to at most ", max_bytes,
                   " bytes, got ", entry.size);
  Bytes result;
  if (!entry.deflated) {
    result = bytes(entry);
  } else {
    // One byte more than the entry says: a stream that holds more is found out without taking memory for it.
    if (buffer.size() < entry.size + 1) buffer.resize(static_cast<size_t>(entry.size + 1));
    size_t filled = 0;
    const auto whole = static_cast<size_t>(entry.size + 1);
    const bool ended = inflate_entry(
        all().subspan(static_cast<size_t>(entry.begin), static_cast<size_t>(entry.stored_size)),
        [&] { return std::span(buffer).subspan(filled, whole - filled); }, [&](Bytes piece) { filled += piece.size(); });
    check<DataError>(ended && filled == entry.size, "zip", label_, ": ", entry.name, " must unpack to ", entry.size,
                     " bytes, got ", filled == whole ? "more" : std::to_string(filled), ": the file is damaged");
    result = Bytes(buffer).first(filled);
  }
  const uint32_t crc = crc_of(result);
  check<DataError>(crc == entry.crc, "zip", label_, ": ", entry.name, " must have CRC-32 ", hex(entry.crc), ", got ", hex(crc),
                   ": the file is damaged");
  return result;
}

void ZipFile::check_crc(const ZipEntry& entry) const {
  uint32_t crc = 0;
  if (!entry.deflated) {
    crc = crc_of(bytes(entry));
  } else {
    std::vector<std::byte> piece(65536);
    uint64_t total = 0;
    const bool ended = inflate_entry(
        all().subspan(static_cast<size_t>(entry.begin), static_cast<size_t>(entry.stored_size)),
        [&] { return std::span(piece); },
        [&](Bytes part) {
          crc = crc_of(part, crc);
          total += part.size();
        });
    check<DataError>(ended && total == entry.size, "zip", label_, ": ", entry.name, " must unpack to ", entry.size,
                     " bytes, got ", total, ": the file is damaged");
  }
  check<DataError>(crc == entry.crc, "zip", label_, ": ", entry.name, " must have CRC-32 ", hex(entry.crc), ", got ", hex(crc),
                   ": the file is damaged");
}

void write_zip(FileSystem& fs, const std::filesystem::path& path, std::span<const ZipPart> parts) {
  std::vector<std::string_view> names;
  for (const ZipPart& part : parts) names.push_back(part.name);
  std::sort(names.begin(), names.end());
  for (size_t i = 0; i < names.size(); ++i) {
    check(!names[i].empty() && names[i].size() <= 65535, "zip", "a name must have 1 to 65535 bytes, got ", names[i].size());
    check(i == 0 || names[i] != names[i - 1], "zip", "each name must be given once, got ", names[i], " twice");
  }
  std::deque<Writer> headers;
  std::vector<Bytes> pieces;
  Writer central;
  uint64_t offset = 0;
  for (const ZipPart& part : parts) {
    const uint32_t crc = crc_of(part.bytes);
    const uint64_t size = part.bytes.size();
    const bool large = size >= UINT32_MAX;
    Writer& head = headers.emplace_back();
    const auto common = [&](Writer& w, uint64_t extra) {
      w.put(0x0800, 2);       // names are UTF-8
      w.put(0, 2);            // stored
      w.put(0x00210000, 4);   // 1 January 1980
      w.put(crc, 4);
      w.put(low32(size), 4);
      w.put(low32(size), 4);
      w.put(part.name.size(), 2);
      w.put(extra, 2);
    };
    const uint64_t zip64 = large ? 20 : 0;
    const uint64_t unpadded = offset + kLocalSize + part.name.size() + zip64 + 4;
    const uint64_t padding = (kAlignment - unpadded % kAlignment) % kAlignment;
    head.put(kLocal, 4);
    head.put(large ? 45 : 20, 2);
    common(head, zip64 + 4 + padding);
    head.text(part.name);
    if (large) {
      head.put(1, 2);
      head.put(16, 2);
      head.put(size, 8);
      head.put(size, 8);
    }
    head.put(kPaddingField, 2);
    head.put(padding, 2);
    head.text(std::string(padding, 'Z'));

    const bool far = offset >= UINT32_MAX;
    const uint64_t extra = (large ? 16U : 0U) + (far ? 8U : 0U);
    central.put(kCentral, 4);
    central.put(large || far ? 45 : 20, 2);
    central.put(large || far ? 45 : 20, 2);
    common(central, extra > 0 ? extra + 4 : 0);
    central.put(0, 2 + 2 + 2 + 4);  // comment, disk, attributes
    central.put(low32(offset), 4);
    central.text(part.name);
    if (extra > 0) {
      central.put(1, 2);
      central.put(extra, 2);
      if (large) {
        central.put(size, 8);
        central.put(size, 8);
      }
      if (far) central.put(offset, 8);
    }
    pieces.push_back(head.bytes());
    pieces.push_back(part.bytes);
    offset += head.size() + size;
  }
  const uint64_t directory = central.size();
  if (parts.size() >= UINT16_MAX || offset >= UINT32_MAX || directory >= UINT32_MAX) {
    central.put(kEnd64, 4);
    central.put(kEnd64Size - 12, 8);
    central.put(45, 2);
    central.put(45, 2);
    central.put(0, 8);
    central.put(parts.size(), 8);
    central.put(parts.size(), 8);
    central.put(directory, 8);
    central.put(offset, 8);
    central.put(kEnd64Locator, 4);
    central.put(0, 4);
    central.put(offset + directory, 8);
    central.put(1, 4);
  }
  const uint64_t count = std::min<uint64_t>(parts.size(), UINT16_MAX);
  central.put(kEnd, 4);
  central.put(0, 4);
  central.put(count, 2);
  central.put(count, 2);
  central.put(low32(directory), 4);
  central.put(low32(offset), 4);
  central.put(0, 2);
  pieces.push_back(central.bytes());
  write_file_atomic(fs, path, std::span<const Bytes>(pieces));
}

}  // namespace ballast
