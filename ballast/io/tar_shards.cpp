#include <ballast/io/tar_shards.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_set>

#include <ballast/base/check.h>

namespace ballast {
namespace {

using Bytes = std::span<const std::byte>;

constexpr uint64_t kBlock = 512;
constexpr uint64_t kMostMembers = 10'000'000;
constexpr size_t kLongestName = 4096;
// Of a pax header or a GNU long name.
constexpr uint64_t kMostExtra = uint64_t{1} << 20;

// Fields of a header block: offset and size.
struct Field {
  size_t at, size;
};
constexpr Field kName{0, 100}, kMode{100, 8}, kUid{108, 8}, kGid{116, 8}, kSize{124, 12},
    kTime{136, 12}, kSum{148, 8}, kPrefix{345, 155};
constexpr size_t kType = 156;
constexpr size_t kMagic = 257;

bool all_zero(Bytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

std::string_view chars(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Up to the first zero byte.
std::string_view text(Bytes block, Field field) {
  const std::string_view whole = chars(block.subspan(field.at, field.size));
  return whole.substr(0, whole.find('\0'));
}

/// Octal digits with blanks around, or GNU's base 256; nothing if it is neither or too large.
std::optional<uint64_t> number(Bytes block, Field field) {
  const Bytes raw = block.subspan(field.at, field.size);
  const auto first = std::to_integer<uint8_t>(raw[0]);
  if ((first & 0x80) != 0) {
    uint64_t value = first & 0x7f;
    for (const std::byte b : raw.subspan(1)) {
      if (value >> 55 != 0) {
        return std::nullopt;
      }
      value = value << 8 | std::to_integer<uint64_t>(b);
    }
    return value;
  }
  std::string_view digits = text(block, field);
  while (digits.starts_with(' ')) {
    digits.remove_prefix(1);
  }
  while (digits.ends_with(' ')) {
    digits.remove_suffix(1);
  }
  uint64_t value = 0;
  for (const char c : digits) {
    if (c < '0' || c > '7') {
      return std::nullopt;
    }
    value = value * 8 + static_cast<uint64_t>(c - '0');
  }
  return value;
}

/// Sum of a header's bytes, its own field taken as blanks; old programs summed signed bytes.
bool sum_is_right(Bytes block) {
  const std::optional<uint64_t> stored = number(block, kSum);
  uint64_t sum = 0;
  int64_t signed_sum = 0;
  for (size_t i = 0; i < kBlock; ++i) {
    const bool own = i >= kSum.at && i < kSum.at + kSum.size;
    const auto b = own ? uint8_t{' '} : std::to_integer<uint8_t>(block[i]);
    sum += b;
    signed_sum += static_cast<int8_t>(b);
  }
  return stored && (*stored == sum || static_cast<int64_t>(*stored) == signed_sum);
}

struct Pax {
  std::optional<std::string> path;
  std::optional<uint64_t> size;
};

/// Records "LENGTH KEY=VALUE\n"; keys other than path and size change nothing that is read here. False if it is damaged.
bool read_pax(std::string_view records, Pax& pax) {
  while (!records.empty()) {
    const size_t blank = records.find(' ');
    if (blank == std::string_view::npos || blank == 0 || blank > 7) {
      return false;
    }
    size_t length = 0;
    for (const char c : records.substr(0, blank)) {
      if (c < '0' || c > '9') {
        return false;
      }
      length = length * 10 + static_cast<size_t>(c - '0');
    }
    if (length <= blank + 1 || length > records.size() || records[length - 1] != '\n') {
      return false;
    }
    const std::string_view record = records.substr(blank + 1, length - blank - 2);
    records.remove_prefix(length);
    const size_t equals = record.find('=');
    if (equals == std::string_view::npos) {
      return false;
    }
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(equals + 1);
    if (key == "path") {
      pax.path = std::string(value);
    } else if (key == "size") {
      uint64_t size = 0;
      for (const char c : value) {
        if (c < '0' || c > '9' || size > UINT64_MAX / 10 - 1) {
          return false;
        }
        size = size * 10 + static_cast<uint64_t>(c - '0');
      }
      if (value.empty()) {
        return false;
      }
      pax.size = size;
    } else if (key.starts_with("GNU.sparse")) {
      return false;
    }
  }
  return true;
}

std::string_view kind_of(char type) {
  switch (type) {
    case '1': return "a hard link";
    case '2': return "a symbolic link";
    case '3':
    case '4': return "a device";
    case '6': return "a FIFO";
    case 'S': return "a sparse file";
    case 'M': return "a file that goes on in another archive";
    default: return "a member of an unknown type";
  }
}

std::string_view compression_of(Bytes file) {
  const std::string_view start = chars(file.first(std::min<size_t>(file.size(), 6)));
  return start.starts_with("\x1f\x8b")           ? "gzip"
         : start.starts_with("\x28\xb5\x2f\xfd") ? "zstd"
         : start.starts_with("BZh")              ? "bzip2"
         : start.starts_with("\xfd" "7zXZ")      ? "xz"
                                                 : "";
}

using Block = std::array<char, kBlock>;

void put_text(Block& block, Field field, std::string_view value) {
  value.copy(block.data() + field.at, field.size);
}

void put_octal(Block& block, Field field, uint64_t value) {
  for (size_t i = field.size - 1; i-- > 0; value /= 8) {
    block[field.at + i] = static_cast<char>('0' + value % 8);
  }
}

Block header(std::string_view prefix, std::string_view name, uint64_t size, char type) {
  Block block{};
  put_text(block, kName, name);
  put_octal(block, kMode, 0644);
  put_octal(block, kUid, 0);
  put_octal(block, kGid, 0);
  put_octal(block, kSize, size);
  put_octal(block, kTime, 0);
  block[kType] = type;
  std::memcpy(block.data() + kMagic, "ustar\00000", 8);
  put_text(block, kPrefix, prefix);
  uint64_t sum = uint64_t{' '} * kSum.size;
  for (const char c : block) {
    sum += static_cast<uint8_t>(c);
  }
  put_octal(block, {kSum.at, 7}, sum);
  block[kSum.at + 7] = ' ';
  return block;
}

std::string pax_record(std::string_view key, std::string_view value) {
  const size_t rest = key.size() + value.size() + 3;
  size_t length = rest + 1;
  while (std::to_string(length).size() + rest != length) {
    length = std::to_string(length).size() + rest;
  }
  return std::to_string(length) + ' ' + std::string(key) + '=' + std::string(value) + '\n';
}

void write_padded(StagedFile& file, Bytes bytes) {
  static constexpr std::array<std::byte, kBlock> kZeros{};
  file.write(bytes);
  file.write(Bytes(kZeros).first((kBlock - bytes.size() % kBlock) % kBlock));
}

}  // namespace

std::string bad_member_name(std::string_view name) {
  if (name.empty()) {
    return "must not be empty";
  }
  if (name.size() > kLongestName) {
    return "must have at most " + std::to_string(kLongestName) + " bytes";
  }
  if (name.find('\0') != std::string_view::npos) {
    return "must not hold a zero byte";
  }
  if (name.front() == '/') {
    return "must not be absolute";
  }
  for (size_t at = 0; at <= name.size();) {
    const size_t slash = std::min(name.find('/', at), name.size());
    if (name.substr(at, slash - at) == "..") {
      return "must not have a part \"..\"";
    }
    at = slash + 1;
  }
  return "";
}

TarFile TarFile::open(const std::filesystem::path& path) {
  TarFile file;
  file.label_ = path.string();
  file.mapped_.emplace(path);
  file.read_headers();
  return file;
}

TarFile TarFile::from_bytes(std::vector<std::byte> bytes, std::string_view label) {
  TarFile file;
  file.label_ = label;
  file.owned_ = std::move(bytes);
  file.read_headers();
  return file;
}

void TarFile::read_headers() {
  const Bytes file = all();
  const std::string_view packed = compression_of(file);
  check<DataError>(packed.empty(), "tar", label_, ": must not be compressed, got ", packed,
                   "; unpack it first (pictures are compressed already)");
  check<DataError>(!file.empty(), "tar", label_, ": must not be empty, got 0 bytes");
  std::unordered_set<std::string> names;
  Pax next;
  Pax global;
  uint64_t at = 0;
  for (;;) {
    const auto refuse_unless = [&](bool ok, const auto&... parts) {
      check<DataError>(ok, "tar", label_, ": ", parts..., " (header at byte ", at, ")");
    };
    check<DataError>(file.size() - at >= kBlock, "tar", label_,
                     ": must end with a block of zeros, got the end of the file at byte ",
                     file.size(), ": it is truncated");
    const Bytes block = file.subspan(static_cast<size_t>(at), kBlock);
    if (all_zero(block)) {
      check<DataError>(all_zero(file.subspan(static_cast<size_t>(at))), "tar", label_,
                       ": must hold nothing behind its end at byte ", at,
                       ", got more (archives that are joined cannot be read)");
      return;
    }
    refuse_unless(sum_is_right(block), "must have a header with the right checksum, got ",
                  at == 0 ? "none: it is no tar archive" : "another: it is damaged");
    const char type = static_cast<char>(block[kType]);
    const std::optional<uint64_t> stored_size = number(block, kSize);
    refuse_unless(stored_size.has_value(), "must have an octal size, got \"", text(block, kSize), '"');
    const bool is_extra = type == 'x' || type == 'g' || type == 'L' || type == 'K';
    const bool regular = type == '0' || type == '\0' || type == '7';
    uint64_t size = *stored_size;
    if (!is_extra) {
      size = next.size ? *next.size : global.size ? *global.size : size;
    }
    const uint64_t room = file.size() - at - kBlock;
    refuse_unless(size <= room && (size + kBlock - 1) / kBlock * kBlock <= room, "must hold ", size,
                  " bytes of a member, got ", room, ": it is truncated or damaged");
    const Bytes content = file.subspan(static_cast<size_t>(at + kBlock), static_cast<size_t>(size));
    if (is_extra) {
      refuse_unless(size <= kMostExtra, "must have an extended header of at most ", kMostExtra,
                    " bytes, got ", size);
      if (type == 'L') {
        const std::string_view name = chars(content);
        next.path = std::string(name.substr(0, name.find('\0')));
      } else if (type != 'K') {
        refuse_unless(read_pax(chars(content), type == 'x' ? next : global),
                      "must have a whole extended header, got a damaged one or one of a sparse file");
      }
    } else {
      std::string name;
      if (next.path || global.path) {
        name = next.path ? *next.path : *global.path;
      } else {
        const bool ustar = std::memcmp(block.data() + kMagic, "ustar\0", 6) == 0;
        if (ustar && block[kPrefix.at] != std::byte{0}) {
          name = std::string(text(block, kPrefix)) + '/';
        }
        name += text(block, kName);
      }
      if (name.starts_with("./")) {
        name.erase(0, 2);
      }
      // Old programs marked a folder by a slash at the end of its name.
      const bool folder = type == '5' || (regular && name.ends_with('/'));
      if (!folder) {
        const std::string wrong = bad_member_name(name);
        refuse_unless(wrong.empty(), "a member's name ", wrong, ", got \"", name.substr(0, 100), '"');
        refuse_unless(regular, "must hold regular files only, got ", kind_of(type), " \"", name, '"');
        refuse_unless(names.insert(name).second, "must hold each name once, got \"", name, "\" twice");
        refuse_unless(members_.size() < kMostMembers, "must hold at most ", kMostMembers, " files");
        members_.push_back({std::move(name), at + kBlock, size});
      }
      next = {};
    }
    at += kBlock + (size + kBlock - 1) / kBlock * kBlock;
  }
}

void TarWriter::add(std::string_view name, std::span<const std::byte> bytes) {
  const std::string wrong = bad_member_name(name);
  check(wrong.empty() && !name.ends_with('/') && !name.starts_with("./"), "tar", "a member's name ",
        wrong.empty() ? "must be a plain path" : wrong, ", got \"", name.substr(0, 100), '"');
  constexpr uint64_t kMostOctal = (uint64_t{1} << 33) - 1;
  std::string_view prefix;
  std::string_view rest = name;
  if (name.size() > kName.size) {
    // The shortest prefix that leaves a name which fits.
    const size_t slash = name.find('/', name.size() - kName.size - 1);
    if (slash != std::string_view::npos && slash <= kPrefix.size && slash > 0) {
      prefix = name.substr(0, slash);
      rest = name.substr(slash + 1);
    }
  }
  std::string records;
  if (rest.size() > kName.size ||
      std::any_of(name.begin(), name.end(), [](char c) { return static_cast<uint8_t>(c) >= 128; })) {
    records += pax_record("path", name);
    prefix = {};
    rest = rest.substr(0, kName.size);
  }
  if (bytes.size() > kMostOctal) {
    records += pax_record("size", std::to_string(bytes.size()));
  }
  if (!records.empty()) {
    const Block block = header("", "pax", records.size(), 'x');
    file_.write(std::string_view(block.data(), block.size()));
    write_padded(file_, std::as_bytes(std::span(records)));
  }
  const Block block = header(prefix, rest, std::min<uint64_t>(bytes.size(), kMostOctal), '0');
  file_.write(std::string_view(block.data(), block.size()));
  write_padded(file_, bytes);
}

void TarWriter::finish() {
  const std::string zeros(2 * kBlock, '\0');
  file_.write(zeros);
  file_.finish();
}

}  // namespace ballast
