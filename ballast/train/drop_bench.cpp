// Forward and backward of the drops on 8 million floats (128x64x32x32), and LibTorch's own way beside each. The allocator
// that `ballast train` installs serves both sides. BALLAST_BENCH_THREADS (2) sets LibTorch's threads.

#include <cstdlib>
#include <cstring>

#include <benchmark/benchmark.h>
#include <torch/types.h>

#include <ballast/drop/alpha_dropout.h>
#include <ballast/drop/drop_block.h>
#include <ballast/drop/drop_connect.h>
#include <ballast/drop/dropout.h>
#include <ballast/drop/spatial_dropout.h>
#include <ballast/models/model.h>
#include <ballast/train/allocator.h>
#include <ballast/train/trainer.h>

namespace {

using namespace ballast;
using torch::Tensor;

void prepare() {
  install_caching_allocator();
  const char* threads = std::getenv("BALLAST_BENCH_THREADS");
  torch::set_num_threads(threads != nullptr ? std::atoi(threads) : 2);
}

template <class F>
void forward_backward(benchmark::State& state, const Tensor& x, const F& f) {
  Tensor leaf = x.detach().requires_grad_();
  const Tensor g = torch::ones_like(x);
  const auto once = [&] {
    f(leaf).backward(g);
    leaf.mutable_grad() = Tensor();
  };
  once();
  for (auto _ : state) once();
  state.SetItemsProcessed(state.iterations() * x.numel());
}

Tensor maps() {
  prepare();
  return torch::rand({128, 64, 32, 32});
}
Tensor half() { return maps().to(torch::kBFloat16); }
Tensor last() { return maps().contiguous(torch::MemoryFormat::ChannelsLast); }
uint64_t next_key = 0;

// x to y as the forward, gy to gx as the backward.
void copy(benchmark::State& state, const Tensor& x) {
  const Tensor y = torch::ones_like(x), gy = torch::ones_like(x), gx = torch::ones_like(x);
  const auto bytes = static_cast<size_t>(x.numel() * x.element_size());
  const auto parts = 2 * static_cast<size_t>(at::get_num_threads());
  for (auto _ : state) {
    for (const auto& [from, to] : {std::pair(&x, &y), std::pair(&gy, &gx)}) {
      const auto* source = static_cast<const char*>(from->data_ptr());
      auto* target = static_cast<char*>(to->data_ptr());
      at::parallel_for(0, static_cast<int64_t>(parts), 1, [&](int64_t begin, int64_t end) {
        for (auto k = static_cast<size_t>(begin); k < static_cast<size_t>(end); ++k) {
          std::memcpy(target + k * (bytes / parts), source + k * (bytes / parts), bytes / parts);
        }
      });
      benchmark::ClobberMemory();
    }
  }
  state.SetItemsProcessed(state.iterations() * x.numel());
}

void element(benchmark::State& s, const Tensor& x, double p = 0.5) {
  forward_backward(s, x, [p](const Tensor& t) { return dropout(t, {.p = p}, true, Key(++next_key)); });
}
void element_torch(benchmark::State& s, const Tensor& x, double p = 0.5) {
  forward_backward(s, x, [p](const Tensor& t) { return at::dropout(t, p, true); });
}
void alpha(benchmark::State& s) {
  forward_backward(s, maps(), [](const Tensor& t) { return alpha_dropout(t, {}, true, Key(++next_key)); });
}
void alpha_torch(benchmark::State& s) {
  forward_backward(s, maps(), [](const Tensor& t) { return at::alpha_dropout(t, 0.5, true); });
}
void spatial(benchmark::State& s) {
  forward_backward(s, maps(), [](const Tensor& t) { return spatial_dropout(t, {}, true, Key(++next_key)); });
}
void spatial_torch(benchmark::State& s) {
  forward_backward(s, maps(), [](const Tensor& t) { return at::feature_dropout(t, 0.5, true); });
}
void block(benchmark::State& s) {
  forward_backward(s, maps(), [](const Tensor& t) { return drop_block(t, {}, true, Key(++next_key)); });
}
// The usual composition: seeds, max pooling, one factor for the batch.
void block_torch(benchmark::State& s) {
  forward_backward(s, maps(), [](const Tensor& t) {
    const double gamma = 0.1 / 49 * 32 * 32 / (26 * 26);
    const Tensor seeds = (torch::rand_like(t) < gamma).to(t.scalar_type());
    const Tensor keep = 1 - torch::max_pool2d(seeds, {7, 7}, {1, 1}, {3, 3});
    return t * (keep * (static_cast<double>(keep.numel()) / keep.sum()));
  });
}

struct Weights {
  Tensor x, w, b;
};
Weights weights() {
  prepare();
  return {torch::randn({64, 512}).requires_grad_(), torch::randn({512, 512}).requires_grad_(),
          torch::randn({512}).requires_grad_()};
}
template <class F>
void connect_steps(benchmark::State& state, const F& f) {
  Weights v = weights();
  const Tensor g = torch::ones({64, 512});
  const auto once = [&] {
    f(v).backward(g);
    for (Tensor* t : {&v.x, &v.w, &v.b}) t->mutable_grad() = Tensor();
  };
  once();
  for (auto _ : state) once();
  state.SetItemsProcessed(state.iterations() * 64);
}
void connect(benchmark::State& s) {
  connect_steps(s, [](const Weights& v) { return drop_connect_linear(v.x, v.w, v.b, {}, true, Key(++next_key)); });
}
void connect_torch(benchmark::State& s) {
  connect_steps(s, [](const Weights& v) {
    const Tensor mask = torch::empty({64, 512, 512}).bernoulli_(0.5) * 2;
    const Tensor bias = torch::empty({64, 512}).bernoulli_(0.5) * 2;
    return at::einsum("noi,ni->no", {mask * v.w, v.x}) + bias * v.b;
  });
}

// A training step of ResNet-56, batch 32, with --drop-path `path`; the mean over many steps, each with its own decisions.
void resnet56(benchmark::State& state, const std::string& path) {
  prepare();
  ModelOptions options;
  options.name = "resnet56";
  options.drop_path = path;
  const std::shared_ptr<Model> model = make_model(options, Key(0));
  to_channels_last(*model);
  model->train();
  TrainerOptions training;
  training.total_steps = 1'000'000;
  Trainer trainer(*model, [&](const Tensor& x) { return model->forward(x); }, training);
  const Tensor x = torch::randn({32, 3, 32, 32}).contiguous(torch::MemoryFormat::ChannelsLast);
  const Tensor y = torch::randint(0, 10, {32}, torch::kLong);
  for (int i = 0; i < 3; ++i) trainer.step(x, y);
  for (auto _ : state) {
    if (!trainer.step(x, y).finite) state.SkipWithError("not finite");
  }
  state.SetItemsProcessed(state.iterations() * 32);
}

void copy_case(benchmark::State& s) { copy(s, maps()); }
void copy_bf16_case(benchmark::State& s) { copy(s, half()); }
void dropout_ballast_case(benchmark::State& s) { element(s, maps()); }
void dropout_torch_case(benchmark::State& s) { element_torch(s, maps()); }
void dropout_bf16_ballast_case(benchmark::State& s) { element(s, half()); }
void dropout_bf16_torch_case(benchmark::State& s) { element_torch(s, half()); }
void dropout_bf16_p3_ballast_case(benchmark::State& s) { element(s, half(), 0.3); }
void dropout_bf16_p3_torch_case(benchmark::State& s) { element_torch(s, half(), 0.3); }
void dropout_channels_last_ballast_case(benchmark::State& s) { element(s, last()); }
void dropout_channels_last_torch_case(benchmark::State& s) { element_torch(s, last()); }
void resnet56_none_case(benchmark::State& s) { resnet56(s, "0"); }
void resnet56_batch_case(benchmark::State& s) { resnet56(s, "0.5:batch"); }
void resnet56_row_case(benchmark::State& s) { resnet56(s, "0.5:row"); }

#define BALLAST_BENCH(function, name) \
  BENCHMARK(function)->Name(name)->UseRealTime()->Unit(benchmark::kMillisecond)
BALLAST_BENCH(copy_case, "copy");
BALLAST_BENCH(copy_bf16_case, "copy_bf16");
BALLAST_BENCH(dropout_ballast_case, "dropout/ballast");
BALLAST_BENCH(dropout_torch_case, "dropout/torch");
BALLAST_BENCH(dropout_bf16_ballast_case, "dropout_bf16/ballast");
BALLAST_BENCH(dropout_bf16_torch_case, "dropout_bf16/torch");
BALLAST_BENCH(dropout_bf16_p3_ballast_case, "dropout_bf16_p3/ballast");  // products are rounded, those of 0.5 are exact
BALLAST_BENCH(dropout_bf16_p3_torch_case, "dropout_bf16_p3/torch");
BALLAST_BENCH(dropout_channels_last_ballast_case, "dropout_channels_last/ballast");
BALLAST_BENCH(dropout_channels_last_torch_case, "dropout_channels_last/torch");
BALLAST_BENCH(alpha, "alpha_dropout/ballast");
BALLAST_BENCH(alpha_torch, "alpha_dropout/torch");
BALLAST_BENCH(spatial, "spatial_dropout/ballast");
BALLAST_BENCH(spatial_torch, "spatial_dropout/torch");
BALLAST_BENCH(block, "drop_block/ballast");
BALLAST_BENCH(block_torch, "drop_block/torch");
BALLAST_BENCH(connect, "drop_connect/ballast");
BALLAST_BENCH(connect_torch, "drop_connect/torch");
BALLAST_BENCH(resnet56_none_case, "resnet56/none")->Iterations(40);
BALLAST_BENCH(resnet56_batch_case, "resnet56/batch")->Iterations(40);
BALLAST_BENCH(resnet56_row_case, "resnet56/row")->Iterations(40);

}  // namespace
