#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <ballast/data/loader.h>
#include <ballast/data/source.h>
#include <ballast/io/file.h>

namespace ballast {

/// Options of pack and write_shards.
struct PackOptions {
  /// keep: files as they are (a progressive JPEG becomes a baseline one with the same pixels, which decodes about three
  /// times as fast); jpeg: decoded and encoded again; raw: pixels.
  /// A source that holds pixels (IDX, CIFAR) is packed raw with keep, as PNG into shards.
  std::string store = "keep";
  /// Shrink pictures so that the shorter side has so many pixels (antialiased, as resize); 0: leave them. Needs jpeg or raw.
  int32_t short_side = 0;
  /// Of jpeg, in [1, 100].
  int32_t quality = 90;
  /// Threads that decode; 0: the usable cores.
  int threads = 0;
  /// Bytes of a shard, about.
  uint64_t shard_bytes = uint64_t{256} << 20;
};

/// What was written.
struct PackReport {
  std::vector<std::filesystem::path> files;
  int64_t pictures = 0;
  /// Of the pictures in the source and in what was written.
  int64_t bytes_in = 0, bytes_out = 0;
  /// Progressive JPEGs that became baseline ones.
  int64_t made_baseline = 0;
  /// Pictures that cannot be decoded; they are kept as they are (with jpeg and raw: as missing), so that a run meets the
  /// same bad samples as with the source. action is empty.
  std::vector<BadSample> bad;
};

/// Writes a source into one file, the packed cache, which open_source reads as any other source: same numbers, names, labels,
/// roles and groups, so that a run on it repeats a run on the source bit for bit (with store = keep).
///
///   "BALLPK01", u64 length of the header, header: JSON with format, classes, count, channels, store, source digest, notes,
///                                                    and weights where they are not all 1; of several labels a picture
///                                                    label_sets, lists of classes, of which label is the number
///   blobs, each at a multiple of 64
///   index, 32 bytes each: u64 offset, u32 bytes, u32 CRC-32, i32 label, u32 lowest number with the same content,
///                         u16 width, u16 height, u8 codec, u8 channels, i8 role (-1: none), u8 reason it is bad (0: fine)
///   names: u16 length and bytes each
///   end, 72 bytes: u64 offset of the index, u64 offset of the names, u64 count, u32 CRC-32 of header, index and names,
///                  u32 0, "BALLEND1", SHA-256 of all before
///
/// All numbers little-endian. The file appears when it is whole.
/// Errors   std::invalid_argument: an option out of range; DataError: a file changes while it is read; StorageError.
PackReport pack(const Source& source, const std::filesystem::path& out, const PackOptions& options,
                FileSystem& fs = real_fs());

/// Writes a source as tar shards in the WebDataset convention into a folder: ROLE-000000.tar, ... (data-000000.tar without
/// roles) with members NNNNNNNN.jpg (or png, webp) and NNNNNNNN.cls (the class's number), and classes.txt.
/// A picture that cannot be read is left out and reported.
/// Errors   as pack; std::invalid_argument if the folder holds shards already, or of several labels a picture.
PackReport write_shards(const Source& source, const std::filesystem::path& folder,
                        const PackOptions& options, FileSystem& fs = real_fs());

}  // namespace ballast
