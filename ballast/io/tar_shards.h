#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ballast/io/file.h>

namespace ballast {

/// A regular file inside a tar archive.
struct TarMember {
  std::string name;    ///< as stored, without a leading "./"
  uint64_t begin = 0;  ///< its bytes in the archive
  uint64_t size = 0;
};

/// An uncompressed tar archive, mapped (from a path) or owned (from bytes), whose members are read in place: nothing is
/// unpacked, so nothing can be written outside any folder.
///
/// Formats   ustar (POSIX.1-1988), pax (POSIX.1-2001: `path` and `size`, of a member or global), GNU long names, v7. Folders are passed over.
/// Opening   walks all headers and checks them: checksum, sizes inside the file, an end marker of zeros with zeros behind it.
/// Refused   links, devices, FIFOs, sparse and split members; names that are empty, absolute, above 4,096 bytes, not a path
///           (a part "..", a zero byte) or there twice; more than 10,000,000 members; compressed archives (with the remedy).
/// Errors    DataError `[tar] LABEL: what is required, got what`; a file whose end is missing says that it is truncated.
class TarFile {
 public:
  static TarFile open(const std::filesystem::path& path);
  static TarFile from_bytes(std::vector<std::byte> bytes, std::string_view label);

  /// In the order of the archive.
  const std::vector<TarMember>& members() const { return members_; }
  /// In place; valid for the life of this object.
  std::span<const std::byte> bytes(const TarMember& member) const {
    return all().subspan(static_cast<size_t>(member.begin), static_cast<size_t>(member.size));
  }
  const std::string& label() const { return label_; }

 private:
  TarFile() = default;
  std::span<const std::byte> all() const {
    return mapped_ ? mapped_->bytes() : std::span<const std::byte>(owned_);
  }
  void read_headers();
  std::string label_;
  std::vector<TarMember> members_;
  std::optional<MappedFile> mapped_;
  std::vector<std::byte> owned_;
};

/// Writes a tar archive piece by piece: ustar, with a pax header where a name or size needs one. Owner 0, time 0, mode 0644:
/// the same members give the same bytes. The file appears at finish(), whole and durable.
class TarWriter {
 public:
  TarWriter(FileSystem& fs, const std::filesystem::path& path) : file_(fs, path) {}
  /// Errors   std::invalid_argument: a name that TarFile would refuse; StorageError.
  void add(std::string_view name, std::span<const std::byte> bytes);
  /// Bytes so far, without the end marker.
  uint64_t size() const { return file_.size(); }
  void finish();

 private:
  StagedFile file_;
};

/// What is wrong with a member's name (of any archive), or "".
std::string bad_member_name(std::string_view name);

}  // namespace ballast
