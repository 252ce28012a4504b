#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ballast {

/// SHA-256 (FIPS 180-4) of bytes given in pieces.
class Sha256 {
 public:
  using Digest = std::array<uint8_t, 32>;

  void update(std::span<const std::byte> bytes);
  void update(std::string_view text) { update(std::as_bytes(std::span(text.data(), text.size()))); }
  /// Ends the message and starts a new one.
  Digest finish();

 private:
  static constexpr std::array<uint32_t, 8> kStart = {0x6a09e667, 0xbb67ae85, 0x3c6ef372,
                                                     0xa54ff53a, 0x510e527f, 0x9b05688c,
                                                     0x1f83d9ab, 0x5be0cd19};
  void blocks(const std::byte* data, size_t count);

  std::array<uint32_t, 8> state_ = kStart;
  std::array<std::byte, 64> rest_{};
  uint64_t length_ = 0;
};

Sha256::Digest sha256(std::span<const std::byte> bytes);
/// 64 hexadecimal digits.
std::string hex(const Sha256::Digest& digest);
std::string sha256_hex(std::span<const std::byte> bytes);
std::string sha256_hex(std::string_view text);

}  // namespace ballast
