#pragma once

// Made-up scores for the benchmarks of this room.

#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include <ballast/ensemble/predictions.h>

namespace ballast::bench {

inline double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Threads of BALLAST_BENCH_THREADS, else 1.
inline int threads() {
  const char* text = std::getenv("BALLAST_BENCH_THREADS");
  return text == nullptr ? 1 : std::atoi(text);
}

/// Logits of members that are right more often than not and differ: noise in (-2, 2) from a small
/// generator, 3 for the class of the row (row % k) in about four fifths of the rows.
struct Scores {
  std::vector<std::vector<float>> z;
  std::vector<int32_t> label;
  std::vector<Predictions> views;

  Scores(int64_t members, int64_t n, int32_t k) {
    uint64_t x = 88172645463325252;
    const auto next = [&x] { return x ^= x << 13, x ^= x >> 7, x ^= x << 17; };
    for (int64_t i = 0; i < n; ++i) label.push_back(static_cast<int32_t>(i % k));
    for (int64_t m = 0; m < members; ++m) {
      std::vector<float>& out = z.emplace_back(static_cast<size_t>(n * k));
      for (int64_t i = 0; i < n * k; ++i) {
        out[static_cast<size_t>(i)] =
            std::bit_cast<float>(static_cast<uint32_t>(next() >> 41) | 0x3f800000U) * 4 - 6;
      }
      for (int64_t i = 0; i < n; ++i) {
        if (next() % 5 != 0) out[static_cast<size_t>(i * k + i % k)] += 3;
      }
    }
    for (const auto& member : z) views.push_back({member.data(), n, k, true});
  }
};

/// Seconds of f, the least of `rounds` after one to warm up.
template <class Fn>
double least_seconds(int rounds, const Fn& f) {
  f();
  double least = 1e300;
  for (int i = 0; i < rounds; ++i) {
    const double start = seconds_now();
    f();
    least = std::min(least, seconds_now() - start);
  }
  return least;
}

}  // namespace ballast::bench
