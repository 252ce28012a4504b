#include <ballast/loss/focal.h>

#include <gtest/gtest.h>
#include <torch/nn/functional/loss.h>

#include <cmath>

#include <ballast/base/test_message.h>
#include <ballast/loss/cross_entropy.h>
#include <ballast/loss/test_loss.h>

namespace ballast {
namespace {

using test::draw;

TEST(Focal, GammaZeroIsCrossEntropy) {
  const torch::Tensor target = torch::tensor({1, 0, -100, 3}, torch::kLong), q = torch::softmax(draw({4, 5}, 2), 1);
  for (double e : {0.0, 0.2}) {
    EXPECT_NEAR(focal_loss(draw({4, 5}), target, {.gamma = 0, .label_smoothing = e}).item<double>(),
                cross_entropy(draw({4, 5}), target, {.label_smoothing = e}).item<double>(), 1e-14);
    EXPECT_NEAR(focal_loss(draw({4, 5}), q, {.gamma = 0, .label_smoothing = e}).item<double>(),
                cross_entropy(draw({4, 5}), q, {.label_smoothing = e}).item<double>(), 1e-14);
  }
}

TEST(Focal, TwoClassesByHand) {
  // p = (1/4, 3/4), class 0: -(3/4)^2 log(1/4); weighted by 0.5.
  const torch::Tensor logits = torch::tensor({{0.0, std::log(3.0)}}, torch::kDouble), target = torch::tensor({0}, torch::kLong);
  EXPECT_NEAR(focal_loss(logits, target).item<double>(), 0.5625 * std::log(4.0), 1e-14);
  EXPECT_NEAR(focal_loss(logits, target, {.alpha = torch::tensor({0.5, 2.0}, torch::kDouble)}).item<double>(), 0.28125 * std::log(4.0), 1e-14);
}

TEST(Focal, GradientIsThatOfDifferences) {
  const torch::Tensor target = torch::tensor({2, 0, 1}, torch::kLong);
  for (double gamma : {0.5, 2.0}) {
    const FocalOptions o{.gamma = gamma, .label_smoothing = 0.1};
    torch::Tensor x = draw({3, 3}).requires_grad_();
    focal_loss(x, target, o).backward();
    for (int64_t i = 0; i < 9; ++i) {
      torch::NoGradGuard no_grad;
      torch::Tensor up = x.detach().clone(), down = up.clone();
      up.view(-1)[i] += 1e-6;
      down.view(-1)[i] -= 1e-6;
      EXPECT_NEAR(x.grad().view(-1)[i].item<double>(), (focal_loss(up, target, o) - focal_loss(down, target, o)).item<double>() / 2e-6, 1e-8);
    }
  }
}

TEST(Focal, EdgesAndErrors) {
  torch::Tensor x = draw({2, 3}).requires_grad_();
  const torch::Tensor none = focal_loss(x, torch::full({2}, -100, torch::kLong));
  none.backward();
  EXPECT_EQ(none.item<double>() + x.grad().abs().max().item<double>(), 0);
  torch::Tensor sure = torch::tensor({{1e4, 0.0}}, torch::kDouble).requires_grad_();
  focal_loss(sure, torch::tensor({0}, torch::kLong), {.gamma = 0.5}).backward();
  EXPECT_TRUE(torch::isfinite(sure.grad()).all().item<bool>());
  EXPECT_EQ(message_of([&] { focal_loss(x, torch::zeros({2}, torch::kLong), {.gamma = -1}); }), "[focal] gamma must be >= 0, got -1");
  EXPECT_EQ(message_of([&] { focal_loss(x, torch::full({2}, 3, torch::kLong)); }), "[focal] target must be in [0, 3), got 3");
  EXPECT_EQ(message_of([&] { focal_loss(x, torch::zeros({3}, torch::kLong)); }),
            "[focal] target must have the shape of the rows of logits, got (3) and (2, 3)");
}

}  // namespace
}  // namespace ballast
