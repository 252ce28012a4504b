// select/greedy: 25 rounds over 100 members x 100,000 rows x 10 classes. select/pairs: all pairs of
// 100 members x 1,000,000 rows, from right and wrong. Counter: seconds.

#include <benchmark/benchmark.h>

#include <ballast/ensemble/bench_scores.h>
#include <ballast/ensemble/diversity.h>
#include <ballast/ensemble/select.h>

namespace {

void greedy(benchmark::State& state) {
  const ballast::bench::Scores s(100, 100'000, 10);
  double least = 0;
  for (auto _ : state) {
    least = ballast::bench::least_seconds(3, [&] {
      benchmark::DoNotOptimize(
          ballast::greedy_select(s.views, s.label, {.threads = ballast::bench::threads()}));
    });
  }
  state.counters["seconds"] = least;
}
BENCHMARK(greedy)->Name("select/greedy")->Iterations(1);

void pairs(benchmark::State& state) {
  std::vector<std::vector<uint8_t>> right(100, std::vector<uint8_t>(1'000'000));
  uint64_t x = 88172645463325252;
  for (auto& member : right) {
    for (uint8_t& r : member) {
      x ^= x << 13, x ^= x >> 7, x ^= x << 17;
      r = x % 5 != 0;
    }
  }
  double least = 0;
  for (auto _ : state) {
    least = ballast::bench::least_seconds(3, [&] {
      benchmark::DoNotOptimize(ballast::pair_counts(right, ballast::bench::threads()));
    });
  }
  state.counters["seconds"] = least;
}
BENCHMARK(pairs)->Name("select/pairs")->Iterations(1);

}  // namespace
