#include <functional>

#include <gtest/gtest.h>
#include <torch/types.h>

#include <ballast/drop/alpha_dropout.h>
#include <ballast/drop/drop_block.h>
#include <ballast/drop/drop_path.h>
#include <ballast/drop/dropout.h>
#include <ballast/drop/shake_drop.h>
#include <ballast/drop/spatial_dropout.h>
#include <ballast/train/allocator.h>

namespace ballast {
namespace {

using torch::Tensor;

struct Memory {
  double kept, peak_forward, peak;  // in tensors of x's size, above x and the gradient of y
};

Memory memory_of(const std::function<Tensor(const Tensor&)>& f, torch::Dtype type) {
  const Tensor x = torch::randn({16, 64, 32, 32}).to(type).requires_grad_();
  const Tensor g = torch::ones_like(x);
  f(x).backward(g);  // once before: what is made once is not counted
  x.mutable_grad() = Tensor();
  const auto tensors = [&, before = allocator_stats().in_use](size_t bytes) {
    return static_cast<double>(bytes - before) / static_cast<double>(x.numel() * x.element_size());
  };
  reset_allocator_peak();
  Memory m{};
  Tensor y = f(x);
  m.kept = tensors(allocator_stats().in_use);
  m.peak_forward = tensors(allocator_stats().peak);
  y.backward(g);
  m.peak = tensors(allocator_stats().peak);
  return m;
}

// What is drawn again need not be kept: an output in the forward, a gradient in the backward, and nothing beside them.
TEST(DropMemory, NoMaskIsStored) {
  install_caching_allocator({.cap = size_t{2} << 30});
  const std::pair<const char*, std::function<Tensor(const Tensor&)>> drops[] = {
      {"dropout", [](const Tensor& x) { return dropout(x, {.p = 0.3}, true, Key(1)); }},
      {"alpha_dropout", [](const Tensor& x) { return alpha_dropout(x, {.p = 0.3}, true, Key(1)); }},
      {"spatial_dropout", [](const Tensor& x) { return spatial_dropout(x, {.p = 0.3}, true, Key(1)); }},
      {"drop_block", [](const Tensor& x) { return drop_block(x, {}, true, Key(1)); }},
      {"drop_path", [](const Tensor& x) { return drop_path(x, {.drop_prob = 0.3}, true, Key(1)); }},
      {"shake_drop", [](const Tensor& x) { return shake_drop(x, {}, true, Key(1)); }},
  };
  for (const auto type : {torch::kFloat, torch::kDouble, torch::kBFloat16}) {
    for (const auto& [name, f] : drops) {
      const Memory m = memory_of(f, type);
      EXPECT_NEAR(m.kept, 1, 0.001) << name << ' ' << type;
      EXPECT_NEAR(m.peak_forward, 1, 0.001) << name << ' ' << type;
      EXPECT_NEAR(m.peak, 2, 0.001) << name << ' ' << type;
    }
  }
  // LibTorch's own keeps a mask: this would be seen.
  EXPECT_GT(memory_of([](const Tensor& x) { return at::dropout(x, 0.3, true); }, torch::kFloat).kept, 1.2);
}

}  // namespace
}  // namespace ballast
