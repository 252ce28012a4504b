#pragma once

#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <ballast/base/cpu.h>

// Helpers of the room's tests.
namespace ballast::test {

inline torch::Tensor draw(std::vector<int64_t> shape, double phase = 0) {
  int64_t n = 1;
  for (int64_t s : shape) n *= s;
  return (torch::arange(n, torch::kDouble) * 12.9898 + phase).sin().mul(3).add(0.01).reshape(shape);
}

inline int64_t zeros_in(const torch::Tensor& x) { return (x == 0).sum().item<int64_t>(); }

/// |k - n p| <= 5 standard errors of a binomial count.
inline void expect_count(int64_t k, double n, double p) {
  EXPECT_LE(std::abs(static_cast<double>(k) - n * p), 5 * std::sqrt(n * p * (1 - p)) + 1e-9) << k << " of " << n << " at " << p;
}

/// Correlation of two 0/1 tensors of probability p is within 5/sqrt(n).
inline void expect_uncorrelated(const torch::Tensor& a, const torch::Tensor& b) {
  const torch::Tensor x = a.to(torch::kDouble).flatten(), y = b.to(torch::kDouble).flatten();
  const torch::Tensor u = x - x.mean(), v = y - y.mean();
  const double r = ((u * v).mean() / (u.square().mean() * v.square().mean()).sqrt()).item<double>();
  EXPECT_LE(std::abs(r), 5 / std::sqrt(static_cast<double>(x.numel())));
}

/// f gives the same bits for 1, 2 and 4 threads and on every instruction set.
inline void expect_same_bits(const std::function<torch::Tensor()>& f) {
  const int threads = torch::get_num_threads();
  torch::set_num_threads(1);
  const torch::Tensor one = f();
  for (int t : {2, 4}) {
    torch::set_num_threads(t);
    EXPECT_TRUE(torch::equal(one, f())) << t << " threads";
  }
  torch::set_num_threads(threads);
  for (const std::string& target : simd_targets()) {
    force_simd_target(target);
    EXPECT_TRUE(torch::equal(one, f())) << target;
  }
  force_simd_target("");
}

/// First and second derivatives of f, which draws the same masks at every call, against central differences.
inline void expect_gradients(const std::function<torch::Tensor(const std::vector<torch::Tensor>&)>& f,
                             std::vector<torch::Tensor> inputs) {
  for (auto& x : inputs) x = x.detach().clone().requires_grad_();
  const torch::Tensor y = f(inputs);
  torch::Tensor w = draw(y.sizes().vec(), 0.3).requires_grad_();
  const auto first = torch::autograd::grad({(y * w).sum()}, inputs, {}, true, true);
  std::vector<torch::Tensor> v;
  torch::Tensor second = torch::zeros({}, torch::kDouble);
  for (size_t k = 0; k < inputs.size(); ++k) {
    v.push_back(draw(inputs[k].sizes().vec(), 0.7));
    second = second + (first[k] * v[k]).sum();
  }
  std::vector<torch::Tensor> all = inputs;
  all.push_back(w);
  const auto gradients = torch::autograd::grad({second}, all, {}, false, true, true);
  const auto value = [&](const std::vector<torch::Tensor>& in) { return (f(in) * w.detach()).sum().item<double>(); };
  const auto slope = [&](const std::vector<torch::Tensor>& in, const torch::Tensor& weights) {
    std::vector<torch::Tensor> leaves;
    for (const auto& x : in) leaves.push_back(x.detach().clone().requires_grad_());
    const auto g = torch::autograd::grad({(f(leaves) * weights).sum()}, leaves, {}, true, true);
    double sum = 0;
    for (size_t k = 0; k < g.size(); ++k) sum += (g[k].detach() * v[k]).sum().item<double>();
    return sum;
  };
  constexpr double h = 1e-6;
  const auto close = [](double got, double want) { EXPECT_NEAR(got, want, 1e-5 + 1e-3 * std::abs(want)); };
  for (size_t k = 0; k < inputs.size(); ++k) {
    for (int64_t i = 0; i < inputs[k].numel(); ++i) {
      std::vector<torch::Tensor> up, down;
      for (const auto& x : inputs) up.push_back(x.detach().clone()), down.push_back(x.detach().clone());
      up[k].view(-1)[i] += h;
      down[k].view(-1)[i] -= h;
      close(first[k].flatten()[i].item<double>(), (value(up) - value(down)) / (2 * h));
      const double got = gradients[k].defined() ? gradients[k].flatten()[i].item<double>() : 0;
      close(got, (slope(up, w.detach()) - slope(down, w.detach())) / (2 * h));
    }
  }
  for (int64_t i = 0; i < w.numel(); ++i) {
    torch::Tensor up = w.detach().clone(), down = w.detach().clone();
    up.view(-1)[i] += h;
    down.view(-1)[i] -= h;
    std::vector<torch::Tensor> plain;
    for (const auto& x : inputs) plain.push_back(x.detach());
    close(gradients.back().flatten()[i].item<double>(), (slope(plain, up) - slope(plain, down)) / (2 * h));
  }
}

/// f(x) in every layout, dtype and shape equals f on a contiguous double tensor, to the dtype's rounding.
inline void expect_layouts_and_types(const std::function<torch::Tensor(const torch::Tensor&)>& f,
                                     const std::vector<std::vector<int64_t>>& shapes) {
  for (const auto& shape : shapes) {
    const torch::Tensor x = draw(shape);
    const torch::Tensor want = f(x);
    ASSERT_EQ(want.sizes(), x.sizes());
    EXPECT_TRUE(torch::equal(f(torch::cat({x, x}, -1).narrow(-1, 0, x.size(-1))), want)) << "sliced";
    if (x.dim() == 4) {
      const torch::Tensor last = f(x.contiguous(torch::MemoryFormat::ChannelsLast));
      EXPECT_TRUE(torch::equal(last, want)) << "channels_last " << x.sizes();
      EXPECT_EQ(last.suggest_memory_format(), x.contiguous(torch::MemoryFormat::ChannelsLast).suggest_memory_format());
      EXPECT_TRUE(torch::equal(f(x.transpose(2, 3).contiguous().transpose(2, 3)), want)) << "transposed";
    }
    for (auto [type, tolerance] : {std::pair{torch::kFloat, 1e-6}, {torch::kBFloat16, 0x1p-7}, {torch::kHalf, 0x1p-9}}) {
      const torch::Tensor given = x.to(type);
      const torch::Tensor got = f(given);
      ASSERT_EQ(got.scalar_type(), type);
      EXPECT_TRUE(torch::allclose(got.to(torch::kDouble), f(given.to(torch::kDouble)), tolerance, tolerance)) << type << x.sizes();
      if (x.dim() == 4) {
        EXPECT_TRUE(torch::equal(f(given.contiguous(torch::MemoryFormat::ChannelsLast)), got)) << type << " channels_last";
      }
    }
  }
}

/// Shapes, dtypes and gradients of an operator on the Meta device; its input is left as it was.
inline void expect_meta_and_unchanged(const std::function<torch::Tensor(const torch::Tensor&)>& f, const torch::Tensor& x) {
  const torch::Tensor meta = f(x.to(torch::kMeta));
  EXPECT_TRUE(meta.is_meta());
  const torch::Tensor before = x.clone();
  const auto version = x._version();
  const torch::Tensor y = f(x);
  EXPECT_EQ(meta.sizes(), y.sizes());
  EXPECT_EQ(meta.scalar_type(), y.scalar_type());
  EXPECT_EQ(x._version(), version);
  EXPECT_TRUE(torch::equal(x, before));
}

}  // namespace ballast::test
