// The norms against LibTorch's own operators: forward and backward of 128x64x32x32 float32 (layer_norm: 128x197x768), both
// sides in one process under the caching allocator, median of 9 interleaved rounds. One benchmark is one comparison: its
// counters are ours_ms, libtorch_ms and ratio. BALLAST_BENCH_THREADS (2) sets LibTorch's threads.

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <torch/torch.h>

#include <ballast/norm/batch_norm.h>
#include <ballast/norm/group_norm.h>
#include <ballast/norm/instance_norm.h>
#include <ballast/norm/layer_norm.h>
#include <ballast/norm/layer_norm_2d.h>
#include <ballast/norm/rms_norm_2d.h>
#include <ballast/train/allocator.h>

namespace {

using torch::Tensor;

struct Inputs {
  Tensor x, residual, weight, bias, mean, var;
};
using Forward = std::function<Tensor(const Inputs&)>;

struct Comparison {
  const char* name;
  Forward ours, libtorch;
};

std::vector<Comparison> comparisons() {
  using namespace ballast;
  const auto batch = [](const Inputs& in) {
    return at::batch_norm(in.x, in.weight, in.bias, in.mean, in.var, true, 0.1, 1e-5, false);
  };
  const BatchNormOptions relu_batch{.num_features = 64, .act = Act::relu};
  const auto last = [](const Tensor& t) { return t.permute({0, 2, 3, 1}); };
  return {
      {"batch_norm_relu", [=](const Inputs& in) { return batch_norm(in.x, in.weight, in.bias, {}, {}, true, relu_batch).y; },
       [=](const Inputs& in) { return batch(in).relu_(); }},
      {"batch_norm_add_relu",
       [=](const Inputs& in) { return batch_norm_add(in.x, in.residual, in.weight, in.bias, {}, {}, true, relu_batch).y; },
       [=](const Inputs& in) { return batch(in).add_(in.residual).relu_(); }},
      {"group_norm_relu",
       [](const Inputs& in) {
         return group_norm(in.x, in.weight, in.bias, {.num_channels = 64, .num_groups = 8, .act = Act::relu});
       },
       [](const Inputs& in) { return at::group_norm(in.x, 8, in.weight, in.bias, 1e-5).relu_(); }},
      {"instance_norm", [](const Inputs& in) { return instance_norm(in.x, in.weight, in.bias, {.num_features = 64}); },
       [](const Inputs& in) { return at::instance_norm(in.x, in.weight, in.bias, {}, {}, true, 0.1, 1e-5, false); }},
      {"layer_norm_2d", [](const Inputs& in) { return layer_norm_2d(in.x, in.weight, in.bias, {.num_channels = 64}); },
       [=](const Inputs& in) {
         return at::layer_norm(last(in.x), {64}, in.weight, in.bias, 1e-6).permute({0, 3, 1, 2}).contiguous(
             in.x.suggest_memory_format());
       }},
      {"rms_norm_2d", [](const Inputs& in) { return rms_norm_2d(in.x, in.weight, {.num_channels = 64}); },
       [](const Inputs& in) {
         return in.x * (in.x.square().mean({1}, true) + 1e-6).rsqrt() * in.weight.view({1, -1, 1, 1});
       }},
      {"layer_norm", [](const Inputs& in) { return layer_norm(in.x, in.weight, in.bias, {.shape = {768}}); },
       [](const Inputs& in) { return at::layer_norm(in.x, {768}, in.weight, in.bias, 1e-5); }},
  };
}

double milliseconds(const Forward& forward, Inputs& in, const Tensor& dy) {
  for (Tensor* t : {&in.x, &in.residual, &in.weight, &in.bias}) t->mutable_grad().reset();
  const auto start = std::chrono::steady_clock::now();
  forward(in).backward(dy);
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

void compare(benchmark::State& state, const Comparison& c, at::MemoryFormat format, at::ScalarType type) {
  ballast::install_caching_allocator();
  const char* threads = std::getenv("BALLAST_BENCH_THREADS");
  torch::set_num_threads(threads != nullptr ? std::atoi(threads) : 2);
  const bool tokens = std::string(c.name) == "layer_norm";
  const auto draw = [&] {
    return tokens ? torch::randn({128, 197, 768}).to(type)
                  : torch::randn({128, 64, 32, 32}).to(type).contiguous(format);
  };
  const int64_t channels = tokens ? 768 : 64;
  Inputs in{draw().requires_grad_(), draw().requires_grad_(), torch::rand({channels}).requires_grad_(),
            torch::rand({channels}).requires_grad_(), torch::zeros({channels}), torch::ones({channels})};
  const Tensor dy = draw();
  std::vector<double> ours, libtorch, ratios;
  for (auto _ : state) {
    for (int round = -1; round < 9; ++round) {
      double a = 0, b = 0;
      if (round % 2 == 0) {
        a = milliseconds(c.ours, in, dy);
        b = milliseconds(c.libtorch, in, dy);
      } else {
        b = milliseconds(c.libtorch, in, dy);
        a = milliseconds(c.ours, in, dy);
      }
      if (round < 0) continue;
      ours.push_back(a);
      libtorch.push_back(b);
      ratios.push_back(b / a);
    }
  }
  state.counters["ours_ms"] = median(ours);
  state.counters["libtorch_ms"] = median(libtorch);
  state.counters["ratio"] = median(ratios);
}

[[maybe_unused]] const bool registered = [] {
  for (const Comparison& c : comparisons()) {
    for (const bool channels_last : {false, true}) {
      const bool tokens = std::string(c.name) == "layer_norm";
      if (tokens && channels_last) continue;
      const std::string layout = tokens ? "tokens" : channels_last ? "channels_last" : "nchw";
      const auto format = channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
      for (const auto& [type, suffix] : {std::pair{torch::kFloat, ""}, std::pair{torch::kBFloat16, "_bf16"}}) {
        benchmark::RegisterBenchmark(("norm/" + std::string(c.name) + '_' + layout + suffix).c_str(),
                                     [c, format, type = type](benchmark::State& state) { compare(state, c, format, type); })
            ->Iterations(1)
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
      }
    }
  }
  return true;
}();

}  // namespace
