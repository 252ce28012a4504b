#include <ballast/loss/distill.h>

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include <cmath>

namespace ballast {
namespace {

torch::Tensor rows(std::initializer_list<double> values, int64_t k) {
  return at::tensor(std::vector<double>(values), at::kDouble).view({-1, k});
}

// Hinton's objective by hand: T = 2, teacher (2, 0), student (0, 0): p = sigmoid(1), q = 1/2.
TEST(Distill, TwoClassesByHand) {
  const double p = 1 / (1 + std::exp(-1.0));
  const double kl = p * std::log(2 * p) + (1 - p) * std::log(2 * (1 - p));
  EXPECT_NEAR(distill(rows({0, 0}, 2), rows({2, 0}, 2), {.temperature = 2}).item<double>(), 4 * kl,
              1e-14);
}

TEST(Distill, AStudentThatSaysTheSameLosesNothingAndConstantsDoNotCount) {
  const torch::Tensor teacher = rows({1, -2, 0.5, 3, 0, 1}, 3);
  EXPECT_NEAR(distill(teacher + 7, teacher).item<double>(), 0, 1e-14);
  EXPECT_NEAR(distill(teacher, at::log_softmax(teacher, 1)).item<double>(), 0, 1e-14);
}

// d/dz of T^2 KL is T (q - p): close to (z - t) / K for large T, whatever T is.
TEST(Distill, TheGradientIsThatOfThePaper) {
  torch::Tensor z = rows({0.3, -0.7, 1.1, 2, 0, -1}, 3).requires_grad_();
  const torch::Tensor t = rows({1, -2, 0.5, 3, 0, 1}, 3);
  distill(z, t, {.temperature = 4, .reduction = Reduction::sum}).backward();
  const torch::Tensor expected = 4 * (at::softmax(z.detach() / 4, 1) - at::softmax(t / 4, 1));
  EXPECT_LT((z.grad() - expected).abs().max().item<double>(), 1e-14);
}

TEST(Distill, AgreesWithKlDiv) {
  const torch::Tensor z = rows({0.3, -0.7, 1.1, 2, 0, -1}, 3), t = rows({1, -2, 0.5, 3, 0, 1}, 3);
  const torch::Tensor kl = at::kl_div(at::log_softmax(z / 3, 1), at::softmax(t / 3, 1),
                                      at::Reduction::Sum, /*log_target=*/false);
  EXPECT_NEAR(distill(z, t, {.temperature = 3, .reduction = Reduction::sum}).item<double>(),
              9 * kl.item<double>(), 1e-13);
}

TEST(Distill, ReductionsAgreeAndTheTeacherGetsNoGradient) {
  torch::Tensor z = rows({0.3, -0.7, 1.1, 2, 0, -1}, 3).requires_grad_();
  torch::Tensor t = rows({1, -2, 0.5, 3, 0, 1}, 3).requires_grad_();
  const torch::Tensor none = distill(z, t, {.reduction = Reduction::none});
  EXPECT_EQ(none.sizes(), (std::vector<int64_t>{2}));
  EXPECT_NEAR(none.sum().item<double>(),
              distill(z, t, {.reduction = Reduction::sum}).item<double>(), 1e-14);
  distill(z, t).backward();
  EXPECT_FALSE(t.grad().defined());
}

TEST(Distill, WrongInputIsNamed) {
  const auto error = [](const torch::Tensor& a, const torch::Tensor& b, double temperature) {
    try {
      distill(a, b, {.temperature = temperature});
    } catch (const std::invalid_argument& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const torch::Tensor x = at::zeros({4, 10});
  EXPECT_EQ(error(x, x, 0), "[distill] temperature must be > 0, got 0");
  EXPECT_EQ(error(at::zeros({4, 9}), x, 1),
            "[distill] teacher must have the shape of logits, got [4, 10] and [4, 9]");
}

}  // namespace
}  // namespace ballast
