#include <ballast/io/safetensors.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <tuple>
#include <utility>

#include <ballast/base/check.h>
#include <ballast/io/json.h>

namespace ballast {
namespace {

static_assert(std::endian::native == std::endian::little,
              "tensors are written as they lie in memory");

constexpr std::string_view kStem = "safetensors";
constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeader = 100'000'000;
constexpr int kMaxDepth = 4;
constexpr std::string_view kMetadata = "__metadata__";

struct DTypeRow {
  std::string_view name;
  uint64_t bits;
};
// In the order of the enumerators.
constexpr std::array<DTypeRow, 22> kDTypes = {{
    {"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
    {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
    {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
    {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
    {"I64", 64},        {"U64", 64},
}};

bool multiply(uint64_t a, uint64_t b, uint64_t& product) {
  return !__builtin_mul_overflow(a, b, &product);
}

// Bytes of a tensor, or the reason why there is no such tensor. The product of the other sizes is checked also when one
// size is 0, so that no later product of a part of them can overflow.
const char* tensor_bytes(const std::vector<int64_t>& shape, SafetensorsDType dtype,
                         uint64_t& bytes) {
  uint64_t elements = 1;
  bool empty = false;
  for (const int64_t size : shape) {
    if (size == 0) {
      empty = true;
    } else if (!multiply(elements, static_cast<uint64_t>(size), elements)) {
      return "the product of its shape must be below 2^64";
    }
  }
  uint64_t bits = 0;
  if (!multiply(elements, safetensors_dtype_bits(dtype), bits)) {
    return "its size in bits must be below 2^64";
  }
  if (empty) bits = 0;
  if (bits % 8 != 0) return "its elements must fill whole bytes";
  bytes = bits / 8;
  return nullptr;
}

// Reads the header's JSON strictly: each event is accepted only where the format has a place for it.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return wrong("null"); }
  bool boolean(bool value) override { return wrong(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return wrong(std::to_string(value)); }
  bool number_float(number_float_t, const string_t& text) override { return wrong(text); }
  bool binary(binary_t&) override { return wrong("binary"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::shape) {
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return wrong(std::to_string(value));
      }
      entry_.shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (place_ == Place::offsets) {
      if (offsets_ >= 2) return refuse("data_offsets must be two numbers, got more");
      (offsets_++ == 0 ? entry_.begin : entry_.end) = value;
      return true;
    }
    return wrong(std::to_string(value));
  }

  bool string(string_t& value) override {
    if (place_ == Place::metadata) {
      header.metadata.emplace(key_, std::move(value));
      return true;
    }
    if (place_ == Place::entry && key_ == "dtype") {
      const auto dtype = safetensors_dtype(value);
      if (!dtype) return refuse("dtype must be a known one, got " + value);
      entry_.dtype = *dtype;
      return true;
    }
    return wrong("a string");
  }

  bool start_object(size_t) override {
    if (++depth_ > kMaxDepth) return too_deep();
    if (place_ == Place::start) return place_ = Place::top, true;
    if (place_ != Place::top) return wrong("an object");
    if (key_ == kMetadata) {
      place_ = Place::metadata;
    } else {
      place_ = Place::entry;
      entry_ = {};
      entry_.name = key_;
      fields_ = 0;
      offsets_ = 0;
    }
    return true;
  }

  bool start_array(size_t) override {
    if (++depth_ > kMaxDepth) return too_deep();
    if (place_ == Place::entry && key_ == "shape") return place_ = Place::shape, true;
    if (place_ == Place::entry && key_ == "data_offsets") return place_ = Place::offsets, true;
    return wrong("an array");
  }

  bool end_array() override {
    --depth_;
    if (place_ == Place::offsets && offsets_ != 2) {
      return refuse("data_offsets must be two numbers, got " + std::to_string(offsets_));
    }
    place_ = Place::entry;
    return true;
  }

  bool end_object() override {
    --depth_;
    if (place_ == Place::entry) {
      for (size_t i = 0; i < kFields.size(); ++i) {
        if ((fields_ & (1U << i)) == 0) {
          return refuse(std::string(kFields[i]) + " is required, got none");
        }
      }
      header.entries.push_back(std::move(entry_));
    }
    place_ = place_ == Place::top ? Place::end : Place::top;
    return true;
  }

  bool key(string_t& name) override {
    if (place_ == Place::top) {
      if (!names_.insert(name).second) return refuse_key(name);
    } else if (place_ == Place::metadata) {
      if (header.metadata.contains(name)) return refuse_key(name);
    } else {
      const auto field = std::ranges::find(kFields, std::string_view(name));
      if (field == kFields.end()) {
        return refuse("fields must be dtype, shape and data_offsets, got " + name);
      }
      const unsigned bit = 1U << (field - kFields.begin());
      if ((fields_ & bit) != 0) return refuse_key(name);
      fields_ |= bit;
    }
    key_ = std::move(name);
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    return refuse("header must be one JSON object, got an error at byte " +
                  std::to_string(kLengthBytes + position));
  }

  SafetensorsHeader header;
  const std::string& error() const { return error_; }

 private:
  enum class Place { start, top, metadata, entry, shape, offsets, end };
  static constexpr std::array<std::string_view, 3> kFields = {"dtype", "shape", "data_offsets"};

  bool refuse(std::string text) {
    error_ = std::move(text);
    if (place_ == Place::entry || place_ == Place::shape || place_ == Place::offsets) {
      error_ = "tensor " + entry_.name + ": " + error_;
    }
    return false;
  }
  bool refuse_key(const std::string& name) {
    return refuse("keys must be unique, got " + name + " twice");
  }
  bool too_deep() { return refuse("header must be at most 4 levels deep, got more"); }
  bool wrong(const std::string& got) {
    switch (place_) {
      case Place::start:
        return refuse("header must be one JSON object, got " + got);
      case Place::top:
        return refuse(key_ + " must be an object, got " + got);
      case Place::metadata:
        return refuse("metadata must be strings, got " + got + " for " + key_);
      case Place::entry:
        return refuse(key_ + " must not be " + got);
      case Place::shape:
        return refuse("sizes must be unsigned integers below 2^63, got " + got);
      case Place::offsets:
        return refuse("data_offsets must be unsigned integers, got " + got);
      case Place::end:
        break;
    }
    return refuse("header must be one JSON object, got more");
  }

  Place place_ = Place::start;
  int depth_ = 0;
  std::string key_;
  std::string error_;
  std::set<std::string, std::less<>> names_;
  SafetensorsEntry entry_;
  unsigned fields_ = 0;
  int offsets_ = 0;
};

bool is_json_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

void check_ranges(const SafetensorsHeader& header, uint64_t file_size, std::string_view label) {
  uint64_t at = 0;
  for (const SafetensorsEntry& entry : header.entries) {
    const auto must = [&](bool ok, const auto&... parts) {
      check<DataError>(ok, kStem, label, ": tensor ", entry.name, ": ", parts...);
    };
    uint64_t bytes = 0;
    const char* wrong = tensor_bytes(entry.shape, entry.dtype, bytes);
    must(wrong == nullptr, wrong == nullptr ? "" : wrong, ", got more");
    must(entry.end >= entry.begin, "data_offsets must rise, got ", entry.begin, ", ", entry.end);
    must(entry.begin == at, "data must begin at ", at, ", where the data before it end, got ",
         entry.begin);
    must(entry.end - entry.begin == bytes, "shape and dtype require ", bytes,
         " bytes, data_offsets give ", entry.end - entry.begin);
    at = entry.end;
  }
  const uint64_t data = file_size - header.data_start;
  check<DataError>(at == data, kStem, label, ": tensors require ", at,
                   " bytes of data, the file has ", data);
}

uint64_t header_length(std::span<const std::byte> start, uint64_t file_size,
                       std::string_view label) {
  check<DataError>(file_size >= kLengthBytes && start.size() >= kLengthBytes, kStem, label,
                   ": a file must have at least 8 bytes, got ", file_size);
  uint64_t n = 0;
  std::memcpy(&n, start.data(), kLengthBytes);
  check<DataError>(n <= kMaxHeader, kStem, label, ": header must have at most ", kMaxHeader,
                   " bytes, got ", n);
  check<DataError>(n <= file_size - kLengthBytes, kStem, label, ": header of ", n,
                   " bytes must lie in the file, got a file of ", file_size);
  return n;
}

}  // namespace

std::string_view safetensors_dtype_name(SafetensorsDType dtype) {
  return kDTypes.at(static_cast<size_t>(dtype)).name;
}

std::optional<SafetensorsDType> safetensors_dtype(std::string_view name) {
  const auto row = std::ranges::find(kDTypes, name, &DTypeRow::name);
  if (row == kDTypes.end()) return std::nullopt;
  return static_cast<SafetensorsDType>(row - kDTypes.begin());
}

uint64_t safetensors_dtype_bits(SafetensorsDType dtype) {
  return kDTypes.at(static_cast<size_t>(dtype)).bits;
}

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> start, uint64_t file_size,
                                           std::string_view label) {
  const uint64_t n = header_length(start, file_size, label);
  check(start.size() >= kLengthBytes + n, kStem,
        "the whole header must be given: ", kLengthBytes + n, " bytes, got ", start.size());
  const std::string_view text(reinterpret_cast<const char*>(start.data()) + kLengthBytes,
                              static_cast<size_t>(n));
  // The parser takes a NUL for the end of the text and skips a byte order mark: both are refused here.
  const auto first = std::ranges::find_if_not(text, is_json_space);
  check<DataError>(
      first != text.end() && *first == '{' && text.find('\0') == std::string_view::npos, kStem,
      label, ": header must be one JSON object, got something else");
  check<DataError>(is_utf8(text), kStem, label, ": header must be UTF-8, got other bytes");
  HeaderReader reader;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &reader)) {
    fail<DataError>(kStem, label, ": ", reader.error());
  }
  SafetensorsHeader header = std::move(reader.header);
  header.data_start = kLengthBytes + n;
  std::ranges::sort(header.entries, [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  check_ranges(header, file_size, label);
  return header;
}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile result;
  result.label_ = path.string();
  FileSystem& fs = real_fs();
  const int file = fs.open(path, OpenMode::read);
  check<DataError>(file >= 0, kStem, "cannot read ", path.string(), ": ",
                   std::generic_category().message(-file));
  struct Closer {
    FileSystem& fs;
    int file;
    ~Closer() { fs.close(file); }
  } closer{fs, file};
  const int64_t size = fs.size(file);
  check<DataError>(size >= 0, kStem, "cannot read ", path.string(), ": ",
                   std::generic_category().message(static_cast<int>(-size)));
  std::vector<std::byte> start;
  const auto read_up_to = [&](uint64_t wanted) {
    size_t used = start.size();
    start.resize(static_cast<size_t>(std::min(wanted, static_cast<uint64_t>(size))));
    while (used < start.size()) {
      const int64_t n = fs.read(file, std::span(start).subspan(used));
      if (n == -EINTR) continue;
      check<DataError>(
          n > 0, kStem, "cannot read ", path.string(), ": ",
          n == 0 ? "it became shorter" : std::generic_category().message(static_cast<int>(-n)));
      used += static_cast<size_t>(n);
    }
  };
  read_up_to(kLengthBytes);
  read_up_to(kLengthBytes + header_length(start, static_cast<uint64_t>(size), result.label_));
  result.header_ = parse_safetensors_header(start, static_cast<uint64_t>(size), result.label_);
  result.mapped_.emplace(path);
  check<DataError>(result.mapped_->bytes().size() == static_cast<uint64_t>(size), kStem,
                   "cannot read ", path.string(), ": its size changed");
  result.index_names();
  return result;
}

SafetensorsFile SafetensorsFile::from_bytes(std::vector<std::byte> bytes, std::string_view label) {
  SafetensorsFile result;
  result.label_ = label;
  result.owned_ = std::move(bytes);
  result.header_ = parse_safetensors_header(result.owned_, result.owned_.size(), label);
  result.index_names();
  return result;
}

void SafetensorsFile::index_names() {
  for (size_t i = 0; i < header_.entries.size(); ++i) by_name_.emplace(header_.entries[i].name, i);
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &header_.entries[found->second];
}

const SafetensorsEntry& SafetensorsFile::at(std::string_view name) const {
  const SafetensorsEntry* entry = find(name);
  check<DataError>(entry != nullptr, kStem, label_, ": tensor ", name, " is required, got none");
  return *entry;
}

std::span<const std::byte> SafetensorsFile::bytes(const SafetensorsEntry& entry) const {
  const std::span<const std::byte> all = mapped_ ? mapped_->bytes() : std::span(owned_);
  return all.subspan(static_cast<size_t>(header_.data_start + entry.begin),
                     static_cast<size_t>(entry.end - entry.begin));
}

namespace {

void append_entry(std::string& json, const SafetensorsTensor& tensor, uint64_t begin) {
  append_json_string(json, tensor.name);
  json += ":{\"dtype\":\"";
  json += safetensors_dtype_name(tensor.dtype);
  json += "\",\"shape\":[";
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    if (i > 0) json += ',';
    json += std::to_string(tensor.shape[i]);
  }
  json += "],\"data_offsets\":[" + std::to_string(begin) + "," +
          std::to_string(begin + tensor.bytes.size()) + "]}";
}

void check_tensor(const SafetensorsTensor& tensor) {
  const auto must = [&](bool ok, const auto&... parts) {
    check(ok, kStem, "tensor ", tensor.name, ": ", parts...);
  };
  must(tensor.name != kMetadata, "a name other than __metadata__ is required");
  must(is_utf8(tensor.name), "its name must be UTF-8");
  for (const int64_t size : tensor.shape) must(size >= 0, "sizes must be 0 or more, got ", size);
  uint64_t bytes = 0;
  const char* wrong = tensor_bytes(tensor.shape, tensor.dtype, bytes);
  must(wrong == nullptr, wrong == nullptr ? "" : wrong);
  must(tensor.bytes.size() == bytes, "shape and dtype require ", bytes, " bytes, got ",
       tensor.bytes.size());
}

}  // namespace

SafetensorsLayout lay_out_safetensors(
    std::span<const SafetensorsTensor> tensors,
    const std::optional<std::map<std::string, std::string>>& metadata) {
  std::map<std::string_view, size_t> by_name;
  for (size_t i = 0; i < tensors.size(); ++i) {
    check_tensor(tensors[i]);
    check(by_name.emplace(tensors[i].name, i).second, kStem, "names must be unique, got ",
          tensors[i].name, " twice");
  }

  auto meta = metadata.value_or(std::map<std::string, std::string>());
  if (metadata) meta.emplace("format", "pt");
  SafetensorsLayout layout;
  std::map<std::tuple<const std::byte*, SafetensorsDType, std::vector<int64_t>>, std::string_view>
      kept;
  for (const auto& [name, i] : by_name) {
    const SafetensorsTensor& tensor = tensors[i];
    if (!tensor.bytes.empty()) {
      const auto [first, is_first] =
          kept.try_emplace({tensor.bytes.data(), tensor.dtype, tensor.shape}, name);
      if (!is_first) {
        meta.emplace(name, first->second);
        continue;
      }
    }
    layout.order.push_back(i);
  }
  // Names rise already: a stable sort by type keeps that order within each type.
  std::ranges::stable_sort(layout.order, std::greater<>(),
                           [&](size_t i) { return tensors[i].dtype; });

  std::string json = "{";
  if (!meta.empty()) {
    append_json_string(json, kMetadata);
    json += ":{";
    for (const auto& [key, value] : meta) {
      check(is_utf8(key) && is_utf8(value), kStem, "metadata must be UTF-8, got other bytes for ",
            key);
      if (json.back() != '{') json += ',';
      append_json_string(json, key);
      json += ':';
      append_json_string(json, value);
    }
    json += '}';
  }
  uint64_t offset = 0;
  for (const size_t i : layout.order) {
    if (json.back() != '{') json += ',';
    append_entry(json, tensors[i], offset);
    offset += tensors[i].bytes.size();
  }
  json += '}';
  json.append((kLengthBytes - json.size() % kLengthBytes) % kLengthBytes, ' ');
  check(json.size() <= kMaxHeader, kStem, "header must have at most ", kMaxHeader, " bytes, got ",
        json.size());

  const uint64_t n = json.size();
  layout.header.resize(kLengthBytes);
  std::memcpy(layout.header.data(), &n, kLengthBytes);
  layout.header += json;
  return layout;
}

std::vector<std::byte> encode_safetensors(
    std::span<const SafetensorsTensor> tensors,
    const std::optional<std::map<std::string, std::string>>& metadata) {
  const SafetensorsLayout layout = lay_out_safetensors(tensors, metadata);
  const auto header = std::as_bytes(std::span(layout.header));
  std::vector<std::byte> file(header.begin(), header.end());
  for (const size_t i : layout.order) {
    file.insert(file.end(), tensors[i].bytes.begin(), tensors[i].bytes.end());
  }
  return file;
}

void write_safetensors(FileSystem& fs, const std::filesystem::path& path,
                       std::span<const SafetensorsTensor> tensors,
                       const std::optional<std::map<std::string, std::string>>& metadata) {
  const SafetensorsLayout layout = lay_out_safetensors(tensors, metadata);
  std::vector<std::span<const std::byte>> parts = {std::as_bytes(std::span(layout.header))};
  for (const size_t i : layout.order) parts.push_back(tensors[i].bytes);
  write_file_atomic(fs, path, parts);
}

void write_safetensors(const std::filesystem::path& path,
                       std::span<const SafetensorsTensor> tensors,
                       const std::optional<std::map<std::string, std::string>>& metadata) {
  write_safetensors(real_fs(), path, tensors, metadata);
}

}  // namespace ballast
