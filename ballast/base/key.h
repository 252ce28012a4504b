#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace ballast {

/// Counter-based randomness: a key is 64 bits, and every number drawn is a pure function of a key
/// and a position. There is no state to advance, save or share; what a key is for is folded into
/// it:
///
///   Key(seed).fold_in("augment").fold_in(epoch).fold_in(sample_id)
///
/// Generator  Philox4x32-10 (Salmon et al. 2011), from Random123.
/// fold_in    the first 64 bits of Philox at counter (x low, x high, 0, 0x666f6c64); a string folds
/// its FNV-1a-64
///            hash with 1 as third counter word. Children of different values, and of strings, are
///            independent.
/// Portable   the same numbers on every CPU and compiler.
class Key {
 public:
  constexpr Key() = default;
  constexpr explicit Key(uint64_t seed) : bits_(seed) {}

  [[nodiscard]] Key fold_in(uint64_t x) const;
  [[nodiscard]] Key fold_in(std::string_view name) const;

  /// The key itself, as a number; Key(k.bits()) == k.
  constexpr uint64_t bits() const { return bits_; }
  friend constexpr bool operator==(Key, Key) = default;

 private:
  uint64_t bits_ = 0;
};

/// One Philox4x32-10 block: 128 random bits as four words.
std::array<uint32_t, 4> philox(Key key, std::array<uint32_t, 4> counter);
/// The block at counter (block low, block high, 0, 0).
std::array<uint32_t, 4> philox(Key key, uint64_t block);

// -- The stream of a key: number i, for any i.
// ------------------------------------------------------------------ Numbers of width b come 128/b
// from a block; 16 blocks are interleaved: with P = 128/b, number i stands in block 16 * (i / 16P)
// + i % 16 at place (i % 16P) / 16 (word 0 lowest), so that 16 SIMD lanes hold 16 blocks.

uint16_t bits16(Key key, uint64_t i);
uint32_t bits32(Key key, uint64_t i);
uint64_t bits64(Key key, uint64_t i);

/// A number in (0, 1) from 64 bits: (k + 1/2) 2^-52, k = bits >> 12. Exact, as is 1 - u; never 0
/// or 1.
constexpr double to_uniform(uint64_t bits) {
  return (static_cast<double>(bits >> 12) + 0.5) * 0x1p-52;
}
/// Uniform number i in (0, 1).
double uniform(Key key, uint64_t i);
/// Standard normal number i: normal_quantile of uniform number i; |z| <= 8.21.
double normal(Key key, uint64_t i);
/// Event i of probability p in [0, 1]: bits32 < round(p 2^32). p = 0 never, p = 1 always.
bool event(Key key, uint64_t i, double p);

/// out[j] = uniform(key, first + j) and normal(key, first + j); about twice as fast as one by one.
void fill_uniform(Key key, uint64_t first, std::span<double> out);
void fill_normal(Key key, uint64_t first, std::span<double> out);

// -- Slots: the few draws of one operation on one sample.
// -------------------------------------------------------- Draw `slot` is the block at counter
// (slot, attempt, i low, i high). Slots are independent of each other: leaving one out shifts
// nothing. `attempt` counts redraws of rejected values, `i` runs over elements of a field.

double slot_uniform(Key key, uint32_t slot, uint32_t attempt = 0, uint64_t i = 0);
double slot_normal(Key key, uint32_t slot, uint32_t attempt = 0, uint64_t i = 0);
/// True with probability p: slot_uniform < p.
bool slot_bernoulli(Key key, uint32_t slot, double p, uint32_t attempt = 0, uint64_t i = 0);
/// Unbiased integer in [0, n): Lemire's multiplication on 64 bits; rejected values go to attempt +
/// 1, ... Errors: std::invalid_argument if n is 0.
uint64_t slot_below(Key key, uint32_t slot, uint64_t n, uint32_t attempt = 0, uint64_t i = 0);
/// Beta(a, b) from two Gammas (Marsaglia and Tsang 2000; i = 0 and 1: a normal number from words 0
/// and 1, a uniform one from words 2 and 3 of each attempt). Shapes below 1 are raised by one and
/// multiplied by U^(1/shape), U from attempt 2^32 - 1; the quotient is formed from logarithms, so
/// tiny shapes give 0 or 1 and never NaN. Errors: std::invalid_argument unless a and b are finite
/// and > 0.
double slot_beta(Key key, uint32_t slot, double a, double b);

/// A keyed order of [0, n): `order(i)` is the element at position i, for any i < n, in any sequence
/// of calls. A bijection for every n up to 2^64 - 1; needs no memory, so an epoch's order is one
/// number to resume.
///
/// Method   alternating Feistel network of 12 rounds on at least 8 bits, walked along its cycle
/// until below n. Errors   std::invalid_argument if i >= n.
class Permutation {
 public:
  Permutation(Key key, uint64_t n);
  uint64_t operator()(uint64_t i) const;
  uint64_t size() const { return n_; }

 private:
  static constexpr int kRounds = 12;
  uint64_t n_ = 0;
  int low_bits_ = 0;
  uint64_t low_mask_ = 0, high_mask_ = 0;
  std::array<uint64_t, kRounds> round_keys_{};
};

}  // namespace ballast
