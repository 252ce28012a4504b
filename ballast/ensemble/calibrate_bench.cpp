// calibrate/small: temperature of 50,000 rows x 100 classes; calibrate/large: of 1,000,000 x 10.
// Counters: seconds, evaluations.

#include <benchmark/benchmark.h>

#include <ballast/ensemble/bench_scores.h>
#include <ballast/ensemble/calibrate.h>

namespace {

void temperature(benchmark::State& state, int64_t n, int32_t k) {
  const ballast::bench::Scores s(1, n, k);
  ballast::Temperature t;
  double least = 0;
  for (auto _ : state) {
    least = ballast::bench::least_seconds(
        5, [&] { t = ballast::fit_temperature(s.views[0], s.label, ballast::bench::threads()); });
  }
  state.counters["seconds"] = least;
  state.counters["evaluations"] = t.evaluations;
}
BENCHMARK_CAPTURE(temperature, small, 50'000, 100)->Name("calibrate/small")->Iterations(1);
BENCHMARK_CAPTURE(temperature, large, 1'000'000, 10)->Name("calibrate/large")->Iterations(1);

}  // namespace
