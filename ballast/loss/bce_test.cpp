#include <ballast/loss/bce.h>

#include <gtest/gtest.h>
#include <torch/nn/functional/loss.h>

#include <cmath>

#include <ballast/base/test_message.h>
#include <ballast/loss/test_loss.h>

namespace ballast {
namespace {

using test::draw;

TEST(Bce, EqualsLibTorchsWithWeightsAndGradients) {
  const torch::Tensor t = torch::sigmoid(draw({6, 5}, 1));
  const torch::Tensor weight = draw({5}, 2).abs(), pos = draw({5}, 3).abs();
  for (auto [w, p] : {std::pair<torch::Tensor, torch::Tensor>{}, {weight, {}}, {{}, pos}, {weight, pos}}) {
    for (Reduction r : {Reduction::none, Reduction::mean, Reduction::sum}) {
      torch::Tensor a = draw({6, 5}).requires_grad_(), b = a.detach().clone().requires_grad_();
      const auto code = r == Reduction::none ? at::Reduction::None : r == Reduction::mean ? at::Reduction::Mean : at::Reduction::Sum;
      const torch::Tensor ours = bce_with_logits(a, t, {.weight = w, .pos_weight = p, .reduction = r});
      const torch::Tensor theirs = at::binary_cross_entropy_with_logits(b, t, w, p, code);
      EXPECT_TRUE(torch::allclose(ours, theirs, 1e-12, 1e-12));
      ours.sum().backward();
      theirs.sum().backward();
      EXPECT_TRUE(torch::allclose(a.grad(), b.grad(), 1e-12, 1e-12));
    }
  }
}

TEST(Bce, ByHand) {
  const torch::Tensor x = torch::zeros({2, 4}, torch::kDouble), t = torch::tensor({{1.0, 0.0, 0.3, 0.2}, {0.0, 0.0, 0.0, 1.0}}, torch::kDouble);
  EXPECT_NEAR(bce_with_logits(x, t).item<double>(), std::log(2.0), 1e-15);
  EXPECT_NEAR(bce_with_logits(x, t, {.sum_classes = true}).item<double>(), 4 * std::log(2.0), 1e-14);
  // One term: x = 2, t = 1, smoothed by 0.2 to 0.9 (per class of 4: 0.85).
  const torch::Tensor y = torch::tensor({{2.0, 0.0, 0.0, 0.0}}, torch::kDouble), one = torch::tensor({{1.0, 0.5, 0.5, 0.5}}, torch::kDouble);
  const double l = std::log1p(std::exp(-2.0));
  const auto first = [&](BceOptions o) {
    o.reduction = Reduction::none;
    return bce_with_logits(y, one, o)[0][0].item<double>();
  };
  EXPECT_NEAR(first({}), l, 1e-15);
  EXPECT_NEAR(first({.label_smoothing = 0.2}), 0.1 * 2 + l, 1e-15);
  EXPECT_NEAR(first({.label_smoothing = 0.2, .per_class = true}), 0.15 * 2 + l, 1e-15);
  // Threshold first: 0.3 > 0.25 becomes 1.
  const torch::Tensor hard = torch::tensor({{1.0, 0.0, 1.0, 0.0}, {0.0, 0.0, 0.0, 1.0}}, torch::kDouble);
  EXPECT_TRUE(torch::equal(bce_with_logits(draw({2, 4}), t, {.target_threshold = 0.25}), bce_with_logits(draw({2, 4}), hard)));
}

TEST(Bce, ExtremeScoresStayFiniteAndEmptyBatchesGiveZero) {
  torch::Tensor x = torch::tensor({1e4, -1e4}, torch::kDouble).requires_grad_();
  const torch::Tensor loss = bce_with_logits(x, torch::tensor({0.0, 1.0}, torch::kDouble));
  EXPECT_DOUBLE_EQ(loss.item<double>(), 1e4);
  loss.backward();
  EXPECT_TRUE(torch::isfinite(x.grad()).all().item<bool>());
  EXPECT_EQ(bce_with_logits(torch::zeros({0, 3}), torch::zeros({0, 3})).item<float>(), 0);
  EXPECT_EQ(bce_with_logits(draw({3, 2}).to(torch::kBFloat16), torch::zeros({3, 2})).scalar_type(), torch::kBFloat16);
}

TEST(Bce, ErrorsSayWhatIsRequired) {
  const torch::Tensor x = torch::zeros({8, 10});
  EXPECT_EQ(message_of([&] { bce_with_logits(x, torch::zeros({8, 9})); }), "[bce] target must have the shape of x, got (8, 9) and (8, 10)");
  EXPECT_EQ(message_of([&] { bce_with_logits(x, x, {.label_smoothing = 1.5}); }), "[bce] label_smoothing must be in [0, 1], got 1.5");
  EXPECT_EQ(message_of([&] { bce_with_logits(x, torch::zeros({8, 10}, torch::kLong)); }), "[bce] target must be floating point, got Long");
}

}  // namespace
}  // namespace ballast
