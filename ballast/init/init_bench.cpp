// Fills of 1e7 numbers, an orthogonal 512 x 4608 matrix and the start of a ResNet-50, ours and LibTorch's.
// BALLAST_BENCH_THREADS (2) sets the threads of both.

#include <cstdlib>
#include <memory>

#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <torch/nn/init.h>

#include <ballast/init/normal.h>
#include <ballast/init/orthogonal.h>
#include <ballast/init/recipes.h>
#include <ballast/init/trunc_normal.h>

namespace {

using ballast::Key;

template <class Work>
void measure(benchmark::State& state, int64_t numbers, const Work& work) {
  const char* threads = std::getenv("BALLAST_BENCH_THREADS");
  at::set_num_threads(threads == nullptr ? 2 : std::atoi(threads));
  torch::NoGradGuard no_grad;
  work();
  for (auto _ : state) work();
  state.SetItemsProcessed(state.iterations() * numbers);
}

constexpr int64_t kNumbers = 10'000'000;

void ballast_normal(benchmark::State& state) {
  torch::Tensor t = torch::empty({kNumbers});
  uint64_t run = 0;
  measure(state, kNumbers, [&] { ballast::normal_(t, 0, 1, Key(++run)); });
}
void ballast_trunc_normal(benchmark::State& state) {
  torch::Tensor t = torch::empty({kNumbers});
  uint64_t run = 0;
  measure(state, kNumbers, [&] { ballast::trunc_normal_(t, 0, 1, -2, 2, Key(++run)); });
}
void aten_normal(benchmark::State& state) {
  torch::Tensor t = torch::empty({kNumbers});
  measure(state, kNumbers, [&] { t.normal_(); });
}

void ballast_orthogonal(benchmark::State& state) {
  torch::Tensor t = torch::empty({512, 4608});
  uint64_t run = 0;
  measure(state, t.numel(), [&] { ballast::orthogonal_(t, 1, 1, Key(++run)); });
}
void aten_qr(benchmark::State& state) {
  const torch::Tensor t = torch::randn({4608, 512});
  measure(state, t.numel(), [&] { benchmark::DoNotOptimize(at::linalg_qr(t)); });
}

// The weights of torchvision's ResNet-50, under names of their own.
struct ResNet50Weights : torch::nn::Module {
  ResNet50Weights() {
    const auto conv = [&](int64_t in, int64_t out, int64_t k) { add({out, in, k, k}); };
    conv(3, 64, 7);
    int64_t in = 64;
    const int64_t blocks[] = {3, 4, 6, 3};
    for (int stage = 0; stage < 4; ++stage) {
      const int64_t width = int64_t{64} << stage;
      for (int64_t i = 0; i < blocks[stage]; ++i) {
        conv(in, width, 1);
        conv(width, width, 3);
        conv(width, 4 * width, 1);
        if (i == 0) conv(in, 4 * width, 1);
        in = 4 * width;
      }
    }
    add({1000, 2048});
  }
  void add(at::IntArrayRef shape) {
    auto layer = register_module("l" + std::to_string(children().size()), std::make_shared<torch::nn::Module>());
    weights.push_back(layer->register_parameter("weight", torch::empty(shape)));
    numbers += weights.back().numel();
  }
  std::vector<torch::Tensor> weights;
  int64_t numbers = 0;
};

void ballast_resnet50(benchmark::State& state) {
  ResNet50Weights model;
  uint64_t run = 0;
  measure(state, model.numbers, [&] { ballast::init_model(model, {.recipe = "wide_resnet", .key = Key(++run)}); });
}
void torch_resnet50(benchmark::State& state) {
  ResNet50Weights model;
  measure(state, model.numbers, [&] {
    for (const torch::Tensor& w : model.weights) torch::nn::init::kaiming_normal_(w, 0, torch::kFanOut, torch::kReLU);
  });
}

BENCHMARK(ballast_normal)->Name("normal/ballast")->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(ballast_trunc_normal)->Name("trunc_normal/ballast")->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(aten_normal)->Name("normal/aten")->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(ballast_orthogonal)->Name("orthogonal/ballast")->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(aten_qr)->Name("orthogonal/aten_qr")->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(ballast_resnet50)->Name("resnet50/ballast")->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(torch_resnet50)->Name("resnet50/torch")->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
