// combine/<rule>: BALLAST_BENCH_MEMBERS (100) members x BALLAST_BENCH_ROWS (1,000,000) rows x 10
// classes in memory. Counters: gb_s of the rule, and read_gb_s of a plain summing read of the same
// bytes with as many threads.

#include <algorithm>
#include <array>
#include <string>

#include <benchmark/benchmark.h>

#include <ballast/base/thread_pool.h>
#include <ballast/ensemble/bench_scores.h>
#include <ballast/ensemble/combine.h>

namespace {

using ballast::bench::Scores;

int64_t number(const char* name, int64_t other) {
  const char* text = std::getenv(name);
  return text == nullptr ? other : std::atoll(text);
}

const Scores& scores() {
  static const Scores made(number("BALLAST_BENCH_MEMBERS", 100),
                           number("BALLAST_BENCH_ROWS", 1'000'000), 10);
  return made;
}

float sum_of(const float* x, int64_t n) {
  std::array<float, 64> part{};
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    for (size_t j = 0; j < 64; ++j) part[j] += x[i + static_cast<int64_t>(j)];
  }
  float sum = 0;
  for (const float p : part) sum += p;
  return sum;
}

void plain_read(const Scores& s, int threads) {
  constexpr int64_t kPiece = 1 << 20;
  static ballast::ThreadPool pool(threads);
  const auto size = static_cast<int64_t>(s.z[0].size());
  const int64_t pieces = (size + kPiece - 1) / kPiece;
  pool.run(pieces * static_cast<int64_t>(s.z.size()), [&](int64_t i, int) {
    const int64_t begin = i % pieces * kPiece;
    float sum =
        sum_of(s.z[static_cast<size_t>(i / pieces)].data() + begin, std::min(kPiece, size - begin));
    benchmark::DoNotOptimize(sum);
  });
}

void rule(benchmark::State& state, const std::string& name) {
  const Scores& s = scores();
  const int threads = ballast::bench::threads();
  const double gigabytes = static_cast<double>(s.z.size() * s.z[0].size()) * 4 / 1e9;
  double ours = 0, read = 0;
  for (auto _ : state) {
    read = ballast::bench::least_seconds(3, [&] { plain_read(s, threads); });
    ours = ballast::bench::least_seconds(3, [&] {
      benchmark::DoNotOptimize(
          ballast::combine(s.views, {.rule = ballast::parse_rule(name), .threads = threads}));
    });
  }
  state.counters["gb_s"] = gigabytes / ours;
  state.counters["read_gb_s"] = gigabytes / read;
}

BENCHMARK_CAPTURE(rule, mean_logit, "mean_logit")->Name("combine/mean_logit")->Iterations(1);
BENCHMARK_CAPTURE(rule, mean_probability, "mean_probability")
    ->Name("combine/mean_probability")
    ->Iterations(1);
BENCHMARK_CAPTURE(rule, hard_vote, "hard_vote")->Name("combine/hard_vote")->Iterations(1);
BENCHMARK_CAPTURE(rule, borda, "borda")->Name("combine/borda")->Iterations(1);
BENCHMARK_CAPTURE(rule, instant_runoff, "instant_runoff")
    ->Name("combine/instant_runoff")
    ->Iterations(1);

}  // namespace
