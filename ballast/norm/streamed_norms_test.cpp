// Results of 16 MB and more go past the caches: the same numbers as those of small tensors.
#include <functional>

#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>

#include <ballast/base/stream.h>
#include <ballast/norm/batch_norm.h>
#include <ballast/norm/group_norm.h>
#include <ballast/norm/instance_norm.h>
#include <ballast/norm/layer_norm.h>
#include <ballast/norm/layer_norm_2d.h>
#include <ballast/norm/rms_norm_2d.h>

namespace ballast {
namespace {

using torch::Tensor;
using Norm1 = std::function<Tensor(const Tensor& x, const Tensor& residual, const Tensor& weight, const Tensor& bias)>;
constexpr int64_t kRows = 72, kChannels = 64, kSide = 32;  // 18 MB

Tensor waves(int64_t n, double step) { return (torch::arange(n, torch::kDouble) * step).sin().to(torch::kFloat); }

struct Results {
  Tensor y, dx, dresidual;
};
Results run(const Norm1& norm, const Tensor& x, const Tensor& residual, const Tensor& dy) {
  const Tensor in = x.detach().clone().requires_grad_(), add = residual.detach().clone().requires_grad_();
  const Tensor weight = waves(kChannels, 0.7).add(1.5).to(x.scalar_type()), bias = waves(kChannels, 1.3).to(x.scalar_type());
  const Tensor y = norm(in, add, weight, bias);
  y.backward(dy);
  return {y.detach(), in.grad(), add.grad()};
}

const std::pair<const char*, Norm1> kNorms[] = {
    {"batch_norm", [](auto& x, auto&, auto& w, auto& b) {
       return batch_norm(x, w, b, {}, {}, true, {.num_features = kChannels, .act = Act::relu}).y;
     }},
    {"batch_norm_add", [](auto& x, auto& r, auto& w, auto& b) {
       return batch_norm_add(x, r, w, b, {}, {}, true, {.num_features = kChannels, .act = Act::relu}).y;
     }},
    {"group_norm", [](auto& x, auto&, auto& w, auto& b) {
       return group_norm(x, w, b, {.num_channels = kChannels, .num_groups = 8, .act = Act::silu});  // no kink, over which rounding decides
     }},
    {"instance_norm", [](auto& x, auto&, auto& w, auto& b) { return instance_norm(x, w, b, {.num_features = kChannels}); }},
    {"layer_norm_2d", [](auto& x, auto&, auto& w, auto& b) { return layer_norm_2d(x, w, b, {.num_channels = kChannels}); }},
    {"rms_norm_2d", [](auto& x, auto&, auto& w, auto&) { return rms_norm_2d(x, w, {.num_channels = kChannels}); }},
    {"layer_norm", [](auto& x, auto&, auto&, auto&) { return layer_norm(x, {}, {}, {.shape = {kSide, kSide}, .affine = false}); }},
};

TEST(StreamedNorms, AreThoseOfSmallTensors) {
  const Tensor shape = torch::empty({kRows, kChannels, kSide, kSide});
  ASSERT_GE(shape.numel() * 4, kStreamBytes);
  for (const auto format : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
    const auto like = [&](double step) { return waves(shape.numel(), step).view_as(shape).contiguous(format); };
    const Tensor x = like(0.37), residual = like(0.11), dy = like(0.53);
    for (const auto& [name, norm] : kNorms) {
      const Results whole = run(norm, x, residual, dy);
      const Results exact = run(norm, x.to(torch::kDouble), residual.to(torch::kDouble), dy.to(torch::kDouble));
      const auto near = [](const Tensor& a, const Tensor& b) { return torch::allclose(a.to(torch::kDouble), b, 1e-4, 1e-4); };
      EXPECT_TRUE(near(whole.y, exact.y)) << name << ' ' << format;
      EXPECT_TRUE(near(whole.dx, exact.dx)) << name << ' ' << format;
      const bool by_batch = std::string(name).starts_with("batch");
      if (std::string(name) == "batch_norm_add") {
        EXPECT_TRUE(near(whole.dresidual, exact.dresidual)) << format;
      }
      if (by_batch) continue;
      // Each sample for itself: halves that are not streamed have the same bits.
      for (const int64_t first : {int64_t{0}, kRows / 2}) {
        const auto half = [&](const Tensor& t) { return t.narrow(0, first, kRows / 2).contiguous(format); };
        ASSERT_LT(half(x).numel() * 4, kStreamBytes);
        const Results part = run(norm, half(x), half(residual), half(dy));
        EXPECT_TRUE(torch::equal(half(whole.y), part.y)) << name << ' ' << format;
        EXPECT_TRUE(torch::equal(half(whole.dx), part.dx)) << name << ' ' << format;
      }
    }
  }
}

}  // namespace
}  // namespace ballast
