#pragma once

// Helpers of the tests of room norm: numbers that repeat, and gradients against differences.

#include <torch/autograd.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/nn/module.h>
#include <torch/serialize/archive.h>
#include <torch/types.h>

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace ballast::test {

/// Values without a pattern in (-1.5, 2.5), the same each time.
inline torch::Tensor draw(const std::vector<int64_t>& shape, double seed = 0) {
  int64_t n = 1;
  for (int64_t s : shape) n *= s;
  return ((torch::arange(n, torch::kDouble) + 7.31 * seed) * 12.9898).sin().mul(2).add(0.5).reshape(shape);
}

using Inputs = std::vector<torch::Tensor>;
using Function = std::function<torch::Tensor(const Inputs&)>;

namespace detail {

inline Inputs leaves(const Inputs& inputs) {
  Inputs copies;
  for (const torch::Tensor& x : inputs) copies.push_back(x.detach().clone().requires_grad_());
  return copies;
}

// Central differences of the scalar f along every element of every input, against `gradients`.
inline void expect_differences(const std::function<double(const Inputs&)>& f, const Inputs& inputs, const Inputs& gradients,
                               const char* what) {
  for (size_t k = 0; k < inputs.size(); ++k) {
    ASSERT_TRUE(gradients[k].defined()) << what << ": input " << k << " has no gradient";
    for (int64_t i = 0; i < inputs[k].numel(); ++i) {
      const auto at = [&](double step) {
        Inputs moved;
        for (const torch::Tensor& x : inputs) moved.push_back(x.detach().clone());
        moved[k].view(-1)[i] += step;
        return f(moved);
      };
      const double expected = (at(1e-6) - at(-1e-6)) / 2e-6;
      EXPECT_NEAR(gradients[k].reshape(-1)[i].item<double>(), expected, 1e-5 + 1e-3 * std::abs(expected))
          << what << ": input " << k << ", element " << i;
    }
  }
}

}  // namespace detail

/// First and second derivatives of f (double inputs) against central differences.
inline void expect_gradients(const Function& f, const Inputs& inputs, bool second = true) {
  torch::Tensor weights;
  const auto scalar = [&](const Inputs& x) {
    const torch::Tensor y = f(x);
    if (!weights.defined()) weights = draw(y.sizes().vec(), 3);
    return (y * weights).sum();
  };
  const Inputs x = detail::leaves(inputs);
  const Inputs first = torch::autograd::grad({scalar(x)}, x);
  detail::expect_differences([&](const Inputs& at) { return scalar(at).item<double>(); }, inputs, first, "gradient");
  if (!second) return;
  const auto of_gradients = [&](const Inputs& leaf) {
    const Inputs g = torch::autograd::grad({scalar(leaf)}, leaf, {}, true, /*create_graph=*/true);
    torch::Tensor sum = torch::zeros({}, torch::kDouble);
    for (size_t k = 0; k < g.size(); ++k) sum = sum + (g[k] * draw(g[k].sizes().vec(), 5 + static_cast<double>(k))).sum();
    return sum;
  };
  const Inputs z = detail::leaves(inputs);
  Inputs twice = torch::autograd::grad({of_gradients(z)}, z, {}, torch::nullopt, false, /*allow_unused=*/true);
  for (size_t k = 0; k < twice.size(); ++k) {
    if (!twice[k].defined()) twice[k] = torch::zeros_like(z[k]);
  }
  detail::expect_differences([&](const Inputs& at) { return of_gradients(detail::leaves(at)).item<double>(); }, inputs, twice,
                             "second gradient");
}

/// The module's tensors by name.
inline std::map<std::string, torch::Tensor> tensors_of(const torch::nn::Module& module) {
  std::map<std::string, torch::Tensor> all;
  for (const auto& p : module.named_parameters()) all.emplace(p.key(), p.value().detach());
  for (const auto& b : module.named_buffers()) all.emplace(b.key(), b.value());
  return all;
}

/// Saves and loads through LibTorch's archives, in memory.
template <class Impl>
void save_and_load(const std::shared_ptr<Impl>& from, const std::shared_ptr<Impl>& to) {
  std::stringstream stream;
  torch::serialize::OutputArchive out;
  from->save(out);
  out.save_to(stream);
  torch::serialize::InputArchive in;
  in.load_from(stream);
  to->load(in);
}

}  // namespace ballast::test
