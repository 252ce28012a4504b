#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ballast/data/source.h>
#include <ballast/image/decode.h>
#include <ballast/io/file.h>

namespace ballast {

/// A row of the packed cache's index, as in the file; pack.h describes it.
struct PackedRow {
  uint64_t offset = 0;
  uint32_t bytes = 0;
  uint32_t crc = 0;
  int32_t label = 0;
  uint32_t same = 0;
  uint16_t w = 0, h = 0;
  uint8_t codec = 0;  // Codec; unknown: raw pixels, or a file that is no picture where `bad` is set
  uint8_t channels = 0;
  int8_t role = -1;
  uint8_t bad = 0;  // 1 + BadReason
};
static_assert(sizeof(PackedRow) == 32);

inline constexpr std::string_view kPackMagic = "BALLPK01";
inline constexpr std::string_view kPackEnd = "BALLEND1";
inline constexpr size_t kPackEndBytes = 72;
inline constexpr uint64_t kPackAlignment = 64;

/// Whether the file begins as a packed cache does.
bool looks_like_packed(const std::string& path);
/// Checks everything but the pictures, whose CRC-32 are compared when they are first read.
std::shared_ptr<const Source> open_packed(const std::string& path);
std::shared_ptr<const Source> open_packed(std::vector<std::byte> bytes, const std::string& label);

}  // namespace ballast
