#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ballast/io/file.h>

namespace ballast {

/// A file inside a zip archive.
struct ZipEntry {
  std::string name;           ///< as stored, such as archive/data.pkl
  uint64_t begin = 0;         ///< its bytes in the archive
  uint64_t stored_size = 0;
  uint64_t size = 0;          ///< unpacked
  uint32_t crc = 0;           ///< CRC-32 of the unpacked bytes
  bool deflated = false;
};

/// The zip archives in which PyTorch keeps tensors, mapped (from a path) or owned (from bytes).
///
/// Opening reads the directory at the archive's end, Zip64 included, and checks it whole: each entry's header and bytes
/// must lie inside the file before the directory, names are unique, nothing is encrypted or split over several files.
/// Methods   stored, deflate.
/// Errors    DataError `[zip] LABEL: what is required, got what`; a file whose end is missing says that it is truncated.
class ZipFile {
 public:
  static ZipFile open(const std::filesystem::path& path);
  static ZipFile from_bytes(std::vector<std::byte> bytes, std::string_view label);

  /// Sorted by name.
  const std::vector<ZipEntry>& entries() const { return entries_; }
  /// The entry of that name, or nullptr.
  const ZipEntry* find(std::string_view name) const;
  /// The bytes of a stored entry, in place; valid for the life of this object. No promise about alignment.
  /// Errors   DataError: the entry is deflated.
  std::span<const std::byte> bytes(const ZipEntry& entry) const;
  /// Reads the entry's bytes and compares their CRC-32.
  /// Errors   DataError: `[zip] LABEL: archive/data/0 must have CRC-32 3c1f52aa, got 00000000`
  void check_crc(const ZipEntry& entry) const;
  /// The entry's unpacked bytes, in place or in `buffer` (which only grows); CRC-32 compared.
  /// Errors   DataError: damaged, or more than `max_bytes` unpacked.
  std::span<const std::byte> read(const ZipEntry& entry, std::vector<std::byte>& buffer, uint64_t max_bytes) const;
  const std::string& label() const { return label_; }

 private:
  ZipFile() = default;
  std::span<const std::byte> all() const { return mapped_ ? mapped_->bytes() : std::span<const std::byte>(owned_); }
  void read_directory();
  std::string label_;
  std::vector<ZipEntry> entries_;
  std::optional<MappedFile> mapped_;
  std::vector<std::byte> owned_;
};

/// A file to be put into an archive. The bytes must live until the call returns.
struct ZipPart {
  std::string name;
  std::span<const std::byte> bytes;
};

/// Writes an archive of stored files, atomically and durably, each file's bytes at a multiple of 64; Zip64 where a size
/// or an offset needs it. The same parts give the same bytes.
/// Errors   std::invalid_argument: a name twice, empty, or above 65535 bytes; StorageError.
void write_zip(FileSystem& fs, const std::filesystem::path& path, std::span<const ZipPart> parts);

}  // namespace ballast
