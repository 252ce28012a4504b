#include <ballast/base/check.h>
#include <ballast/base/detmath.h>
#include <ballast/base/key.h>
#include <ballast/base/key_kernel.h>

#include <Random123/philox.h>

#include <algorithm>
#include <bit>
#include <cmath>

namespace ballast {
namespace {

constexpr uint32_t kFold = 0x666f6c64;  // "fold"
constexpr uint32_t kPerm = 0x7065726d;  // "perm"

constexpr uint32_t low(uint64_t x) { return static_cast<uint32_t>(x); }
constexpr uint32_t high(uint64_t x) { return static_cast<uint32_t>(x >> 32); }
constexpr uint64_t join(uint32_t lo, uint32_t hi) { return static_cast<uint64_t>(hi) << 32 | lo; }

constexpr uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return hash;
}

Key first_64(const std::array<uint32_t, 4>& block) { return Key(join(block[0], block[1])); }

struct Place {
  uint64_t block;
  unsigned index;
};
/// Where number i of 128 / per_block bits stands.
Place place(uint64_t i, unsigned per_block) {
  const uint64_t group = i / (16 * per_block);
  const auto e = static_cast<unsigned>(i % (16 * per_block));
  return {16 * group + e % 16, e / 16};
}

std::array<uint32_t, 4> slot_block(Key key, uint32_t slot, uint32_t attempt, uint64_t i) {
  return philox(key, {slot, attempt, low(i), high(i)});
}

/// ln of a Gamma(shape, 1) number.
double slot_log_gamma(Key key, uint32_t slot, double shape, uint64_t i) {
  shape = std::max(shape, 1e-300);  // so that the logarithm below stays finite
  double boost = 0.0;
  if (shape < 1.0) {
    boost = det_log(slot_uniform(key, slot, 0xffffffff, i)) / shape;
    shape += 1.0;
  }
  const double d = shape - 1.0 / 3.0;
  const double c = 1.0 / std::sqrt(9.0 * d);
  for (uint32_t attempt = 0;; ++attempt) {
    const auto w = slot_block(key, slot, attempt, i);
    const double x = normal_quantile(to_uniform(join(w[0], w[1])));
    const double t = 1.0 + c * x;
    if (t <= 0.0) {
      continue;
    }
    const double log_v = 3.0 * det_log(t);
    const double u = to_uniform(join(w[2], w[3]));
    if (det_log(u) < 0.5 * x * x + d - d * (t * t * t) + d * log_v) {
      return boost + det_log(d) + log_v;
    }
  }
}

/// A bijective mix of 64 bits with good avalanche (finalizer of MurmurHash3).
uint64_t mix(uint64_t x) {
  x = (x ^ x >> 33) * 0xff51afd7ed558ccd;
  x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53;
  return x ^ x >> 33;
}

}  // namespace

std::array<uint32_t, 4> philox(Key key, std::array<uint32_t, 4> counter) {
  const philox4x32_ctr_t in{{counter[0], counter[1], counter[2], counter[3]}};
  const philox4x32_key_t k{{low(key.bits()), high(key.bits())}};
  const philox4x32_ctr_t out = philox4x32(in, k);
  return {out.v[0], out.v[1], out.v[2], out.v[3]};
}

std::array<uint32_t, 4> philox(Key key, uint64_t block) {
  return philox(key, {low(block), high(block), 0, 0});
}

Key Key::fold_in(uint64_t x) const { return first_64(philox(*this, {low(x), high(x), 0, kFold})); }

Key Key::fold_in(std::string_view name) const {
  const uint64_t hash = fnv1a(name);
  return first_64(philox(*this, {low(hash), high(hash), 1, kFold}));
}

uint16_t bits16(Key key, uint64_t i) {
  const Place p = place(i, 8);
  const uint32_t word = philox(key, p.block)[p.index / 2];
  return static_cast<uint16_t>(p.index % 2 == 0 ? word : word >> 16);
}

uint32_t bits32(Key key, uint64_t i) {
  const Place p = place(i, 4);
  return philox(key, p.block)[p.index];
}

uint64_t bits64(Key key, uint64_t i) {
  const Place p = place(i, 2);
  const auto w = philox(key, p.block);
  return p.index == 0 ? join(w[0], w[1]) : join(w[2], w[3]);
}

double uniform(Key key, uint64_t i) { return to_uniform(bits64(key, i)); }

double normal(Key key, uint64_t i) { return normal_quantile(uniform(key, i)); }

bool event(Key key, uint64_t i, double p) {
  check(p >= 0.0 && p <= 1.0, "key", "p must be in [0, 1], got ", p);
  return bits32(key, i) < static_cast<uint64_t>(std::nearbyint(p * 0x1p32));
}

void fill_uniform(Key key, uint64_t first, std::span<double> out) {
  size_t done = 0;
  while (done < out.size() && (first + done) % 32 != 0) {
    out[done] = uniform(key, first + done);
    ++done;
  }
  const size_t groups = (out.size() - done) / 32;
  uniform_groups(key.bits(), (first + done) / 32, out.data() + done, groups);
  for (done += 32 * groups; done < out.size(); ++done) {
    out[done] = uniform(key, first + done);
  }
}

void fill_normal(Key key, uint64_t first, std::span<double> out) {
  fill_uniform(key, first, out);
  normal_quantiles(out.data(), out.size());
}

double slot_uniform(Key key, uint32_t slot, uint32_t attempt, uint64_t i) {
  const auto w = slot_block(key, slot, attempt, i);
  return to_uniform(join(w[0], w[1]));
}

double slot_normal(Key key, uint32_t slot, uint32_t attempt, uint64_t i) {
  return normal_quantile(slot_uniform(key, slot, attempt, i));
}

bool slot_bernoulli(Key key, uint32_t slot, double p, uint32_t attempt, uint64_t i) {
  return slot_uniform(key, slot, attempt, i) < p;
}

uint64_t slot_below(Key key, uint32_t slot, uint64_t n, uint32_t attempt, uint64_t i) {
  check(n > 0, "key", "n must be at least 1, got 0");
  __extension__ using uint128 = unsigned __int128;
  const uint64_t threshold = (0 - n) % n;  // 2^64 mod n
  for (;; ++attempt) {
    const auto w = slot_block(key, slot, attempt, i);
    const uint128 product = static_cast<uint128>(join(w[0], w[1])) * n;
    if (static_cast<uint64_t>(product) >= threshold) {
      return static_cast<uint64_t>(product >> 64);
    }
  }
}

double slot_beta(Key key, uint32_t slot, double a, double b) {
  check(std::isfinite(a) && a > 0 && std::isfinite(b) && b > 0, "key",
        "beta needs finite shapes > 0, got ", a, " and ", b);
  const double log_x = slot_log_gamma(key, slot, a, 0);
  const double log_y = slot_log_gamma(key, slot, b, 1);
  return 1.0 / (1.0 + det_exp(log_y - log_x));
}

Permutation::Permutation(Key key, uint64_t n) : n_(n) {
  // Below 8 bits a Feistel network reaches too few permutations; walking the cycle makes up for the
  // larger domain.
  const int bits = std::max(8, n > 1 ? static_cast<int>(std::bit_width(n - 1)) : 0);
  low_bits_ = bits / 2;
  low_mask_ = (uint64_t{1} << low_bits_) - 1;
  high_mask_ = (uint64_t{1} << (bits - low_bits_)) - 1;
  for (uint32_t r = 0; r < kRounds; ++r) {
    const auto w = philox(key, {r, 0, 0, kPerm});
    round_keys_[r] = join(w[0], w[1]);
  }
}

uint64_t Permutation::operator()(uint64_t i) const {
  check(i < n_, "key", "a permutation of ", n_, " has no position ", i);
  uint64_t lo = i & low_mask_;
  uint64_t hi = i >> low_bits_;
  do {
    for (int r = 0; r < kRounds; r += 2) {
      hi ^= mix(lo ^ round_keys_[r]) & high_mask_;
      lo ^= mix(hi ^ round_keys_[r + 1]) & low_mask_;
    }
  } while ((hi << low_bits_ | lo) >= n_);
  return hi << low_bits_ | lo;
}

}  // namespace ballast
