#include <cstring>
#include <functional>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>

#include <ballast/base/key.h>
#include <ballast/ops/activation.h>
#include <ballast/ops/conv2d.h>
#include <ballast/ops/linear.h>
#include <ballast/ops/recurrent.h>
#include <ballast/ops/softmax.h>

namespace ballast {
namespace {

using torch::Tensor;
using Tensors = std::vector<Tensor>;

Tensor drawn(std::vector<int64_t> size, uint64_t key) {
  int64_t n = 1;
  for (const int64_t s : size) n *= s;
  std::vector<double> values(static_cast<size_t>(n));
  fill_normal(Key(key), 0, values);
  return torch::tensor(values).view(size).mul_(0.5);
}

struct Op {
  std::string name;
  Tensors inputs;
  std::function<Tensor(const Tensors&)> ours, theirs;
};

// Odd sizes: no thread's share is a whole number of vectors, and the last piece is smaller.
std::vector<Op> all_ops() {
  std::vector<Op> all;
  for (const int64_t kernel : {1, 3}) {
    for (const int64_t stride : {1, 2}) {
      for (const bool channels_last : {true, false}) {
        const auto in = [=](const Tensor& t) { return channels_last ? t.contiguous(torch::MemoryFormat::ChannelsLast) : t; };
        all.push_back({"conv2d " + std::to_string(kernel) + " stride " + std::to_string(stride),
                       {drawn({13, 7, 33, 31}, 1), drawn({9, 7, kernel, kernel}, 2), drawn({9}, 3)},
                       [=](const Tensors& v) { return ops::conv2d(in(v[0]), v[1], v[2], {stride, stride}, {kernel / 2, kernel / 2}); },
                       [=](const Tensors& v) { return at::conv2d(in(v[0]), v[1], v[2], {stride, stride}, {kernel / 2, kernel / 2}); }});
      }
    }
  }
  all.push_back({"linear", {drawn({77, 301}, 4), drawn({203, 301}, 5), drawn({203}, 6)}, [](const Tensors& v) { return ops::linear(v[0], v[1], v[2]); },
                 [](const Tensors& v) { return at::linear(v[0], v[1], v[2]); }});
  all.push_back({"linear of tokens", {drawn({7, 19, 33}, 4), drawn({41, 33}, 5)}, [](const Tensors& v) { return ops::linear(v[0], v[1]); },
                 [](const Tensors& v) { return at::linear(v[0], v[1]); }});
  all.push_back({"softmax", {drawn({17, 3, 65, 65}, 7)}, [](const Tensors& v) { return ops::softmax(v[0]); },
                 [](const Tensors& v) { return at::softmax(v[0], -1); }});
  const auto act = [&](Act a, const std::function<Tensor(const Tensor&)>& theirs) {
    all.push_back({std::string(act_name(a)), {drawn({37, 3, 33, 31}, 8)}, [a](const Tensors& v) { return ops::activation(v[0], a, 1); },
                   [theirs](const Tensors& v) { return theirs(v[0]); }});
  };
  act(Act::elu, [](const Tensor& x) { return at::elu(x); });
  act(Act::selu, [](const Tensor& x) { return at::selu(x); });
  act(Act::gelu, [](const Tensor& x) { return at::gelu(x); });
  act(Act::gelu_tanh, [](const Tensor& x) { return at::gelu(x, "tanh"); });
  act(Act::silu, [](const Tensor& x) { return at::silu(x); });
  act(Act::mish, [](const Tensor& x) { return at::mish(x); });
  act(Act::sigmoid, [](const Tensor& x) { return at::sigmoid(x); });
  act(Act::softplus, [](const Tensor& x) { return at::softplus(x); });
  const Tensor start = torch::zeros({1, 71, 11});
  all.push_back({"lstm", {drawn({71, 6, 5}, 9), drawn({44, 5}, 10), drawn({44, 11}, 11), drawn({44}, 12), drawn({44}, 13)},
                 [=](const Tensors& v) {
                   const Tensors y = ops::recurrent("lstm", v[0], start, {v[1], v[2], v[3], v[4]}, true);
                   return y[0].sum({1}) + y[2][0];
                 },
                 [=](const Tensors& v) {
                   const auto [y, h, c] = at::lstm(v[0], {start, start}, {v[1], v[2], v[3], v[4]}, true, 1, 0.0, true, false, true);
                   return y.sum({1}) + c[0];
                 }});
  return all;
}

// The result and the gradients of all inputs.
Tensors results(const Op& op, bool ours) {
  Tensors inputs;
  for (const Tensor& t : op.inputs) inputs.push_back(t.clone().requires_grad_());
  const Tensor y = (ours ? op.ours : op.theirs)(inputs);
  Tensors all = torch::autograd::grad({y}, inputs, {y.detach().cos()});
  all.push_back(y.detach());
  return all;
}

TEST(Ops, AgreeWithLibTorch) {
  for (const Op& op : all_ops()) {
    const Tensors ours = results(op, true), theirs = results(op, false);
    for (size_t i = 0; i < ours.size(); ++i) {
      EXPECT_LT((ours[i] - theirs[i]).abs().max().item<double>(), 1e-5 * (1 + theirs[i].abs().max().item<double>())) << op.name << ' ' << i;
    }
  }
}

TEST(Ops, SameBitsForAnyNumberOfThreads) {
  const int before = at::get_num_threads();
  for (const Op& op : all_ops()) {
    at::set_num_threads(1);
    const Tensors expected = results(op, true);
    for (const int threads : {2, 3, 4, 8}) {
      at::set_num_threads(threads);
      const Tensors got = results(op, true);
      for (size_t i = 0; i < got.size(); ++i) {
        const Tensor a = got[i].contiguous(), b = expected[i].contiguous();
        EXPECT_EQ(std::memcmp(a.data_ptr(), b.data_ptr(), a.nbytes()), 0) << op.name << ' ' << i << ' ' << threads << " threads";
      }
      EXPECT_EQ(at::get_num_threads(), threads);
    }
  }
  at::set_num_threads(before);
}

// The slope of the squared gradient, ours and LibTorch's.
TEST(Ops, GradientsOfGradientsAreLibTorchs) {
  for (const Op& op : all_ops()) {
    const auto second = [&](bool ours) {
      Tensors inputs;
      for (const Tensor& t : op.inputs) inputs.push_back(t.clone().requires_grad_());
      const Tensor y = (ours ? op.ours : op.theirs)(inputs);
      const Tensor g = torch::autograd::grad({y.sin().sum()}, {inputs[0]}, {}, true, /*create_graph=*/true)[0];
      return torch::autograd::grad({g.square().sum()}, {inputs[0]})[0];
    };
    const Tensor ours = second(true), theirs = second(false);
    EXPECT_LT((ours - theirs).abs().max().item<double>(), 1e-4 * (1 + theirs.abs().max().item<double>())) << op.name;
  }
}

}  // namespace
}  // namespace ballast
