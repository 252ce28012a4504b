#include <ballast/base/sha256.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace ballast {
namespace {

// Fractional parts of the cube roots of the first 64 primes.
constexpr std::array<uint32_t, 64> kRound = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

uint32_t load_big(const std::byte* p) {
  return std::to_integer<uint32_t>(p[0]) << 24 | std::to_integer<uint32_t>(p[1]) << 16 |
         std::to_integer<uint32_t>(p[2]) << 8 | std::to_integer<uint32_t>(p[3]);
}

}  // namespace

void Sha256::blocks(const std::byte* data, size_t count) {
  using std::rotr;
  auto [a, b, c, d, e, f, g, h] = state_;
  for (; count > 0; --count, data += 64) {
    uint32_t w[16];
    for (int i = 0; i < 16; ++i) {
      w[i] = load_big(data + 4 * i);
    }
    const auto before = std::array{a, b, c, d, e, f, g, h};
    // Eight rounds with the variables renamed instead of moved.
#define BALLAST_SHA_ROUND(A, B, C, D, E, F, G, H, I)                                      \
  H += (rotr(E, 6) ^ rotr(E, 11) ^ rotr(E, 25)) + (G ^ (E & (F ^ G))) + kRound[t + (I)] + \
       w[(t + (I)) % 16];                                                                 \
  D += H;                                                                                 \
  H += (rotr(A, 2) ^ rotr(A, 13) ^ rotr(A, 22)) + ((A & B) | (C & (A | B)));
    for (size_t t = 0; t < 64; t += 8) {
      if (t >= 16) {
        for (size_t i = t; i < t + 8; ++i) {
          const uint32_t x = w[(i + 1) % 16];
          const uint32_t y = w[(i + 14) % 16];
          w[i % 16] += (rotr(x, 7) ^ rotr(x, 18) ^ (x >> 3)) + w[(i + 9) % 16] +
                       (rotr(y, 17) ^ rotr(y, 19) ^ (y >> 10));
        }
      }
      BALLAST_SHA_ROUND(a, b, c, d, e, f, g, h, 0)
      BALLAST_SHA_ROUND(h, a, b, c, d, e, f, g, 1)
      BALLAST_SHA_ROUND(g, h, a, b, c, d, e, f, 2)
      BALLAST_SHA_ROUND(f, g, h, a, b, c, d, e, 3)
      BALLAST_SHA_ROUND(e, f, g, h, a, b, c, d, 4)
      BALLAST_SHA_ROUND(d, e, f, g, h, a, b, c, 5)
      BALLAST_SHA_ROUND(c, d, e, f, g, h, a, b, 6)
      BALLAST_SHA_ROUND(b, c, d, e, f, g, h, a, 7)
    }
#undef BALLAST_SHA_ROUND
    a += before[0];
    b += before[1];
    c += before[2];
    d += before[3];
    e += before[4];
    f += before[5];
    g += before[6];
    h += before[7];
  }
  state_ = {a, b, c, d, e, f, g, h};
}

void Sha256::update(std::span<const std::byte> bytes) {
  if (bytes.empty()) {
    return;
  }
  const size_t held = length_ % 64;
  length_ += bytes.size();
  if (held > 0) {
    const size_t take = std::min(64 - held, bytes.size());
    std::memcpy(rest_.data() + held, bytes.data(), take);
    bytes = bytes.subspan(take);
    if (held + take < 64) {
      return;
    }
    blocks(rest_.data(), 1);
  }
  blocks(bytes.data(), bytes.size() / 64);
  bytes = bytes.subspan(bytes.size() / 64 * 64);
  if (!bytes.empty()) {
    std::memcpy(rest_.data(), bytes.data(), bytes.size());
  }
}

Sha256::Digest Sha256::finish() {
  const uint64_t bits = length_ * 8;
  std::array<std::byte, 72> padding{};
  padding[0] = std::byte{0x80};
  const size_t zeros = (119 - length_ % 64) % 64;
  for (size_t i = 0; i < 8; ++i) {
    padding[1 + zeros + i] = static_cast<std::byte>(bits >> (56 - 8 * i));
  }
  update(std::span(padding).first(zeros + 9));
  Digest digest;
  for (size_t i = 0; i < 32; ++i) {
    digest[i] = static_cast<uint8_t>(state_[i / 4] >> (24 - 8 * (i % 4)));
  }
  *this = Sha256();
  return digest;
}

Sha256::Digest sha256(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

std::string hex(const Sha256::Digest& digest) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  text.reserve(64);
  for (const uint8_t byte : digest) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

std::string sha256_hex(std::span<const std::byte> bytes) { return hex(sha256(bytes)); }
std::string sha256_hex(std::string_view text) {
  return sha256_hex(std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace ballast
