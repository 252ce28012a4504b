// stack: one regularization, 20 members x 50,000 rows x 10 classes, full weights. Counters:
// seconds, objective. BALLAST_BENCH_OUT names
// a file for the scores (float32, member after member) so that another library can solve the same
// problem.

#include <fstream>

#include <benchmark/benchmark.h>

#include <ballast/ensemble/bench_scores.h>
#include <ballast/ensemble/stack.h>

namespace {

void stack(benchmark::State& state) {
  const ballast::bench::Scores s(20, 50'000, 10);
  if (const char* out = std::getenv("BALLAST_BENCH_OUT"); out != nullptr) {
    std::ofstream file(out, std::ios::binary);
    for (const auto& z : s.z) {
      file.write(reinterpret_cast<const char*>(z.data()),
                 static_cast<std::streamsize>(z.size() * sizeof(float)));
    }
  }
  ballast::Stack fit;
  double least = 0;
  for (auto _ : state) {
    const double start = ballast::bench::seconds_now();
    fit = ballast::fit_stack(
        s.views, s.label,
        {.form = ballast::StackForm::full, .lambda = 1e-2, .threads = ballast::bench::threads()});
    least = ballast::bench::seconds_now() - start;
  }
  state.counters["seconds"] = least;
  state.counters["objective"] = fit.objective;
}
BENCHMARK(stack)->Name("stack")->Iterations(1);

}  // namespace
