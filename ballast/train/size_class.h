#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace ballast {

/// Size classes of the caching allocator: 64 bytes, then four an octave: 64, 80, 96, 112, 128, 160, ...
/// A block is at most a quarter larger than what was asked for (above 64 bytes).
inline constexpr uint32_t kSizeClasses = 4 * 56;

/// The smallest class that holds n bytes. n in [1, 2^56].
constexpr uint32_t size_class(size_t n) {
  if (n <= 64) {
    return 0;
  }
  const auto octave = static_cast<uint32_t>(std::bit_width(n - 1)) - 1;  // 2^octave <= n - 1
  const auto quarter = static_cast<uint32_t>(((n - 1) >> (octave - 2)) & 3);
  return 4 * (octave - 6) + quarter + 1;
}

/// Bytes of a class.
constexpr size_t size_class_bytes(uint32_t c) {
  return (size_t{4} + c % 4) << (c / 4 + 4);
}

}  // namespace ballast
