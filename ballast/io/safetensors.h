#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ballast/io/file.h>

namespace ballast {

/// Element types of the format, in its rising order. Spelled in files as in safetensors_dtype_name: "F32".
enum class SafetensorsDType : uint8_t {
  boolean,
  f4,
  f6_e2m3,
  f6_e3m2,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  c64,
  f64,
  i64,
  u64,
};

/// "F32", "BF16", ...
std::string_view safetensors_dtype_name(SafetensorsDType dtype);
/// The type of that name, or nothing.
std::optional<SafetensorsDType> safetensors_dtype(std::string_view name);
/// Bits per element: 4 to 64.
uint64_t safetensors_dtype_bits(SafetensorsDType dtype);

/// A tensor in a file: little-endian, C order.
struct SafetensorsEntry {
  std::string name;
  SafetensorsDType dtype = SafetensorsDType::f32;
  /// Sizes of its dimensions; none: a scalar.
  std::vector<int64_t> shape;
  /// Its bytes in the data part: [begin, end).
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct SafetensorsHeader {
  /// Sorted by begin, then name.
  std::vector<SafetensorsEntry> entries;
  /// `__metadata__`.
  std::map<std::string, std::string> metadata;
  /// Offset of the data part in the file: 8 + header size.
  uint64_t data_start = 0;
};

/// Checks a whole header against the file's size; nothing of the data is looked at.
///
///   file = N (u64, little-endian) | N bytes of JSON | data
///
/// Refused: N beyond the file or above 100,000,000; text that is not UTF-8 or not exactly one JSON object; nesting deeper
/// than 4; duplicate keys; an entry that has not exactly dtype, shape, data_offsets; numbers that are not unsigned
/// integers; unknown dtypes; products that overflow; a size that is not end - begin; data with holes, overlaps, a tail
/// or missing bytes.
///
/// start   the first min(file_size, 8 + N) bytes of the file, or more
/// label   names the file in errors
/// Errors  DataError `[safetensors] LABEL: what is required, got what`
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> start, uint64_t file_size,
                                           std::string_view label);

/// A validated file, mapped (from a path) or owned (from bytes).
class SafetensorsFile {
 public:
  /// Reads and checks the header, then maps the file.
  /// Errors   DataError with path and cause.
  static SafetensorsFile open(const std::filesystem::path& path);
  static SafetensorsFile from_bytes(std::vector<std::byte> bytes, std::string_view label);

  const std::vector<SafetensorsEntry>& entries() const { return header_.entries; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  /// The tensor of that name, or nullptr.
  const SafetensorsEntry* find(std::string_view name) const;
  /// The tensor of that name. Errors: DataError that names the file.
  const SafetensorsEntry& at(std::string_view name) const;
  /// A tensor's bytes, valid for the life of this object. No promise about alignment: copy with memcpy.
  std::span<const std::byte> bytes(const SafetensorsEntry& entry) const;
  const std::string& label() const { return label_; }

 private:
  SafetensorsFile() = default;
  void index_names();
  std::string label_;
  SafetensorsHeader header_;
  std::map<std::string, size_t, std::less<>> by_name_;
  std::optional<MappedFile> mapped_;
  std::vector<std::byte> owned_;
};

/// A tensor to be written. The bytes must be little-endian, C order, and live until the call returns.
struct SafetensorsTensor {
  std::string name;
  SafetensorsDType dtype = SafetensorsDType::f32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

/// Header bytes (length, JSON, padding) of a file of these tensors, and the order in which their bytes follow.
struct SafetensorsLayout {
  std::string header;
  /// Indices into the tensors given.
  std::vector<size_t> order;
};

/// Lays a file out as the reference implementation does: tensors by dtype descending, then name; `__metadata__` first with
/// sorted keys and always "format":"pt"; header padded with blanks to a multiple of 8; no tensors and no metadata: N = 8.
///
/// Tensors that share their bytes (same address, dtype and shape, not empty) are stored once, under the name that sorts
/// first; the metadata maps each other name to it, as Python's safetensors.torch.save_model does.
/// metadata   std::nullopt writes none at all, not even the format.
/// Errors     std::invalid_argument: a name twice, or `__metadata__`; a size other than shape and dtype say; a negative
///            dimension.
SafetensorsLayout lay_out_safetensors(
    std::span<const SafetensorsTensor> tensors,
    const std::optional<std::map<std::string, std::string>>& metadata);

/// The whole file in memory.
std::vector<std::byte> encode_safetensors(std::span<const SafetensorsTensor> tensors,
                                          const std::optional<std::map<std::string, std::string>>&
                                              metadata = std::map<std::string, std::string>());

/// Writes the file atomically and durably (write_file_atomic).
/// Errors   as lay_out_safetensors; StorageError.
void write_safetensors(FileSystem& fs, const std::filesystem::path& path,
                       std::span<const SafetensorsTensor> tensors,
                       const std::optional<std::map<std::string, std::string>>& metadata =
                           std::map<std::string, std::string>());
void write_safetensors(const std::filesystem::path& path,
                       std::span<const SafetensorsTensor> tensors,
                       const std::optional<std::map<std::string, std::string>>& metadata =
                           std::map<std::string, std::string>());

}  // namespace ballast
