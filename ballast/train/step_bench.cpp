// A training step of ResNet-20 on 128 pictures of 3x32x32: `step/stock` is the loop that LibTorch's own documentation
// teaches (torch::nn, torch::optim::SGD, NCHW), `step/ballast` is what `ballast train` runs without its loader,
// `step/ballast_bf16` the same with the forward pass under autocast to bfloat16.
// The allocator of the second is process-wide and a benchmark that ran before would share it: run one per process, as
// benchmarks/run does. BALLAST_BENCH_THREADS (2) sets LibTorch's threads for both.

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>

#include <ATen/autocast_mode.h>
#include <benchmark/benchmark.h>
#include <torch/torch.h>
#include <torch/version.h>

#include <ballast/models/model.h>
#include <ballast/models/probe_model.h>
#include <ballast/train/allocator.h>
#include <ballast/train/step_watch.h>
#include <ballast/train/trainer.h>

namespace {

namespace nn = torch::nn;

constexpr int64_t kBatch = 128;

nn::Conv2d conv(int64_t in, int64_t out, int64_t kernel, int64_t stride) {
  return nn::Conv2d(nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).bias(false));
}

struct BlockImpl : nn::Module {
  BlockImpl(int64_t in, int64_t out, int64_t stride)
      : conv1(register_module("conv1", conv(in, out, 3, stride))),
        conv2(register_module("conv2", conv(out, out, 3, 1))),
        bn1(register_module("bn1", nn::BatchNorm2d(out))),
        bn2(register_module("bn2", nn::BatchNorm2d(out))) {
    if (stride != 1 || in != out) {
      downsample = register_module("downsample", nn::Sequential(conv(in, out, 1, stride), nn::BatchNorm2d(out)));
    }
  }
  torch::Tensor forward(const torch::Tensor& x) {
    torch::Tensor y = bn2(conv2(torch::relu(bn1(conv1(x)))));
    return torch::relu(y + (downsample ? downsample->forward(x) : x));
  }
  nn::Conv2d conv1, conv2;
  nn::BatchNorm2d bn1, bn2;
  nn::Sequential downsample{nullptr};
};
TORCH_MODULE(Block);

struct StockResNet20Impl : nn::Module {
  StockResNet20Impl() {
    layers->push_back(conv(3, 16, 3, 1));
    layers->push_back(nn::BatchNorm2d(16));
    layers->push_back(nn::ReLU());
    int64_t in = 16;
    for (const int64_t width : {16, 32, 64}) {
      for (int i = 0; i < 3; ++i) {
        layers->push_back(Block(in, width, width > in ? 2 : 1));
        in = width;
      }
    }
    register_module("layers", layers);
    register_module("fc", fc);
  }
  torch::Tensor forward(const torch::Tensor& x) { return fc(layers->forward(x).mean({2, 3})); }
  nn::Sequential layers;
  nn::Linear fc{64, 10};
};
TORCH_MODULE(StockResNet20);

void set_threads() {
  const char* threads = std::getenv("BALLAST_BENCH_THREADS");
  torch::set_num_threads(threads != nullptr ? std::atoi(threads) : 2);
}

void stock(benchmark::State& state) {
  set_threads();
  torch::manual_seed(0);
  StockResNet20 model;
  torch::optim::SGD optimizer(model->parameters(),
                              torch::optim::SGDOptions(0.1).momentum(0.9).nesterov(true).weight_decay(5e-4));
  const torch::Tensor x = torch::randn({kBatch, 3, 32, 32}), y = torch::randint(0, 10, {kBatch}, torch::kLong);
  const auto step = [&] {
    optimizer.zero_grad();
    torch::Tensor loss = nn::functional::cross_entropy(
        model(x), y, nn::functional::CrossEntropyFuncOptions().label_smoothing(0.1));
    loss.backward();
    optimizer.step();
    benchmark::DoNotOptimize(loss.item<float>());
  };
  for (int i = 0; i < 3; ++i) step();
  for (auto _ : state) step();
  state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK(stock)->Name("step/stock")->UseRealTime()->Unit(benchmark::kMillisecond)->Iterations(20);

// Autocast to bfloat16 while it lives.
struct Autocast {
  Autocast() {
    set(true);
    at::autocast::increment_nesting();
  }
  ~Autocast() {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    set(false);
  }
  static void set(bool on) {
#if TORCH_VERSION_MAJOR >= 2
    at::autocast::set_autocast_enabled(at::kCPU, on);
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
#else
    at::autocast::set_cpu_enabled(on);
    at::autocast::set_autocast_cpu_dtype(at::kBFloat16);
#endif
  }
};

void ballast_step(benchmark::State& state, bool bf16) {
  ballast::install_caching_allocator();
  set_threads();
  ballast::ModelOptions options;
  options.name = "resnet20";
  options.num_classes = 10;
  options.in_channels = 3;
  options.height = options.width = 32;
  const std::shared_ptr<ballast::Model> model = ballast::make_model(options, ballast::Key(0));
  ballast::to_channels_last(*model);
  model->train();
  ballast::TrainerOptions trainer_options;
  trainer_options.total_steps = 1'000'000;
  trainer_options.label_smoothing = 0.1;
  trainer_options.schedule.lr = 0.1;
  const auto forward = [&](const torch::Tensor& x) {
    if (!bf16) return model->forward(x);
    const Autocast autocast;
    return model->forward(x).to(torch::kFloat);
  };
  ballast::Trainer trainer(*model, forward, trainer_options);
  const torch::Tensor x = torch::randn({kBatch, 3, 32, 32}).contiguous(torch::MemoryFormat::ChannelsLast);
  const torch::Tensor y = torch::randint(0, 10, {kBatch}, torch::kLong);
  for (int i = 0; i < 3; ++i) trainer.step(x, y);
  for (auto _ : state) {
    if (!trainer.step(x, y).finite) state.SkipWithError("not finite");
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK_CAPTURE(ballast_step, fp32, false)->Name("step/ballast")->UseRealTime()->Unit(benchmark::kMillisecond)->Iterations(20);
BENCHMARK_CAPTURE(ballast_step, bf16, true)->Name("step/ballast_bf16")->UseRealTime()->Unit(benchmark::kMillisecond)->Iterations(20);

// A step, and what looks at it: all in one process, in turns, so that the machine is the same for all. Items a second
// count pictures of the plain steps; the counters are in steps.
//
//   probe   an init_report: at most 4 steps
//   watch   what a watched step takes more than a plain one, every 100 steps: at most 0.01
void probe_cost(benchmark::State& state) {
  ballast::install_caching_allocator();
  set_threads();
  ballast::ModelOptions options;
  options.name = "resnet20";
  const std::shared_ptr<ballast::Model> model = ballast::make_model(options, ballast::Key(0));
  ballast::to_channels_last(*model);
  model->train();
  ballast::StepWatch watch(*model);
  ballast::TrainerOptions trainer_options;
  trainer_options.total_steps = 1'000'000;
  trainer_options.schedule.lr = 0.01;
  ballast::Trainer trainer(
      *model,
      [&](const torch::Tensor& x) { return watch.active() ? watch.forward([&] { return model->forward(x); }, x.size(0)) : model->forward(x); },
      trainer_options);
  const torch::Tensor x = torch::randn({kBatch, 3, 32, 32}).contiguous(torch::MemoryFormat::ChannelsLast);
  const torch::Tensor y = torch::randint(0, 10, {kBatch}, torch::kLong);
  const auto seconds = [](const auto& run) {
    const auto start = std::chrono::steady_clock::now();
    run();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const auto plain = [&] { trainer.step(x, y); };
  const auto watched = [&] {
    watch.begin();
    trainer.step(x, y);
    benchmark::DoNotOptimize(watch.end());
  };
  const auto report = [&] { benchmark::DoNotOptimize(ballast::probe_model(*model, x, y)); };
  plain(), watched(), report(), plain();
  std::vector<double> plains, probes, watches;
  for (auto _ : state) {
    const double step = seconds(plain);
    plains.push_back(step);
    watches.push_back((seconds(watched) - step) / step);
    probes.push_back(seconds(report) / step);
  }
  const auto median = [](std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v[v.size() / 2];
  };
  state.SetItemsProcessed(state.iterations() * kBatch);
  state.counters["probe"] = median(probes);
  state.counters["watch"] = median(watches) / 100;
  state.counters["step_ms"] = 1000 * median(plains);
}
BENCHMARK(probe_cost)->Name("probe/cost")->UseRealTime()->Unit(benchmark::kMillisecond)->Iterations(9);

}  // namespace
