// Forward and backward of cross entropy on 256 x 1000 scores, and LibTorch's own way beside it: for mixed targets the
// one-hots that it needs. The allocator that `ballast train` installs serves both sides. BALLAST_BENCH_THREADS (2) sets
// LibTorch's threads.

#include <cstdlib>

#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <torch/types.h>

#include <ballast/loss/cross_entropy.h>
#include <ballast/train/allocator.h>

namespace {

using namespace ballast;
using torch::Tensor;

constexpr int64_t kRows = 256, kClasses = 1000;

template <class F>
void forward_backward(benchmark::State& state, const F& f) {
  install_caching_allocator();
  const char* threads = std::getenv("BALLAST_BENCH_THREADS");
  torch::set_num_threads(threads != nullptr ? std::atoi(threads) : 2);
  Tensor leaf = torch::randn({kRows, kClasses}).requires_grad_();
  const Tensor a = torch::randint(kClasses, {kRows}), b = torch::randint(kClasses, {kRows});
  const Tensor lam = torch::rand({kRows}), q = torch::rand({kRows, kClasses}).softmax(1);
  const auto once = [&] {
    f(leaf, a, b, lam, q).backward();
    leaf.mutable_grad() = Tensor();
  };
  once();
  for (auto _ : state) once();
  state.SetItemsProcessed(state.iterations() * kRows * kClasses);
}

#define BALLAST_LOSS_BENCH(function, name, expression)                                                               \
  void function(benchmark::State& state) {                                                                           \
    forward_backward(state, [](const Tensor& x, [[maybe_unused]] const Tensor& a, [[maybe_unused]] const Tensor& b,  \
                               [[maybe_unused]] const Tensor& lam, [[maybe_unused]] const Tensor& q) {               \
      return expression;                                                                                             \
    });                                                                                                              \
  }                                                                                                                  \
  BENCHMARK(function)->Name(name)->Unit(benchmark::kMicrosecond)->UseRealTime()

BALLAST_LOSS_BENCH(classes, "cross_entropy/ballast", cross_entropy(x, a));
BALLAST_LOSS_BENCH(classes_torch, "cross_entropy/torch", at::cross_entropy_loss(x, a));
BALLAST_LOSS_BENCH(smoothed, "cross_entropy_smoothed/ballast", cross_entropy(x, a, {.label_smoothing = 0.1}));
BALLAST_LOSS_BENCH(smoothed_torch, "cross_entropy_smoothed/torch",
                   at::cross_entropy_loss(x, a, {}, at::Reduction::Mean, -100, 0.1));
BALLAST_LOSS_BENCH(soft, "cross_entropy_soft/ballast", cross_entropy(x, q, {.label_smoothing = 0.1}));
BALLAST_LOSS_BENCH(soft_torch, "cross_entropy_soft/torch", at::cross_entropy_loss(x, q, {}, at::Reduction::Mean, -100, 0.1));
BALLAST_LOSS_BENCH(mixed, "cross_entropy_mix/ballast", cross_entropy(x, MixTarget{a, b, lam}, {.label_smoothing = 0.1}));
BALLAST_LOSS_BENCH(mixed_torch, "cross_entropy_mix/torch",
                   at::cross_entropy_loss(x, lam.unsqueeze(1) * at::one_hot(a, kClasses) +
                                                 (1 - lam).unsqueeze(1) * at::one_hot(b, kClasses),
                                          {}, at::Reduction::Mean, -100, 0.1));

}  // namespace
