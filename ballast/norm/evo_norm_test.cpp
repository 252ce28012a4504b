#include <ballast/norm/evo_norm.h>

#include <gtest/gtest.h>

#include <cmath>

#include <ballast/base/test_message.h>
#include <ballast/norm/test_gradients.h>

namespace ballast {
namespace {

using test::draw;

TEST(EvoNorm, B0ByHand) {
  // One channel, two samples of two positions: batch variance 3.5; sample variances 0.25 and 2.25.
  const torch::Tensor x = torch::tensor({1.0, 2.0, 3.0, 6.0}, torch::kDouble).view({2, 1, 1, 2});
  const torch::Tensor one = torch::ones({1}, torch::kDouble), zero = torch::zeros({1}, torch::kDouble);
  const EvoNormB0Result r = evo_norm_b0(x, one, zero, one, {}, true, 1e-12);
  EXPECT_NEAR(r.var.item<double>(), 3.5, 1e-12);
  const double s = std::sqrt(3.5);
  EXPECT_TRUE(torch::allclose(r.y.flatten(), torch::tensor({1 / s, 2 / 2.5, 3 / 4.5, 6 / 7.5}, torch::kDouble), 1e-9));
  EXPECT_TRUE(torch::allclose(evo_norm_b0(x, one, zero, {}, {}, true, 1e-12).y, x / s, 1e-9));
}

TEST(EvoNorm, S0ByHand) {
  const torch::Tensor x = torch::tensor({1.0, 2.0, 3.0, 6.0}, torch::kDouble).view({1, 2, 1, 2});
  const torch::Tensor one = torch::ones({2}, torch::kDouble), zero = torch::zeros({2}, torch::kDouble);
  EXPECT_TRUE(torch::allclose(evo_norm_s0(x, one, zero, one, 1, 1e-12), x * x.sigmoid() / std::sqrt(3.5), 1e-9));
  // Groups of one channel: variances 0.25 and 2.25.
  const torch::Tensor std = torch::tensor({0.5, 1.5}, torch::kDouble).view({1, 2, 1, 1});
  EXPECT_TRUE(torch::allclose(evo_norm_s0(x, one, zero, {}, 2, 1e-12), x / std, 1e-9));
}

TEST(EvoNorm, GradientsAreThoseOfDifferences) {
  test::expect_gradients(
      [](const test::Inputs& in) { return evo_norm_b0(in[0], in[1], in[2], in[3], {}, true, 1e-3).y; },
      {draw({2, 2, 3, 2}), draw({2}, 1), draw({2}, 2), draw({2}, 3)});
  test::expect_gradients([](const test::Inputs& in) { return evo_norm_s0(in[0], in[1], in[2], in[3], 2, 1e-3); },
                         {draw({2, 4, 1, 3}), draw({4}, 1), draw({4}, 2), draw({4}, 3)});
}

TEST(EvoNorm, B0KeepsARunningVarianceAndUsesItInEval) {
  EvoNormB0 norm(EvoNormB0Options{.num_features = 1});
  norm->to(torch::kDouble);
  const torch::Tensor x = torch::tensor({1.0, 2.0, 3.0, 6.0}, torch::kDouble).view({2, 1, 1, 2});
  norm->forward(x);
  EXPECT_NEAR(norm->running_var.item<double>(), 0.9 + 0.1 * 14 / 3, 1e-12);
  norm->eval();
  const torch::Tensor y = norm->forward(x);
  EXPECT_NEAR(norm->running_var.item<double>(), 0.9 + 0.1 * 14 / 3, 1e-12);
  EXPECT_NEAR(y[0][0][0][0].item<double>(), 1 / std::max(std::sqrt(0.9 + 1.4 / 3 + 1e-5), 1 + std::sqrt(0.25 + 1e-5)), 1e-12);
  // Eval does not depend on the other samples.
  EXPECT_TRUE(torch::allclose(norm->forward(x.narrow(0, 1, 1)), y.narrow(0, 1, 1), 1e-14));
}

TEST(EvoNorm, ShapesLayoutsAndTypes) {
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{
           {0, 16, 5, 3}, {5, 2, 1, 1}, {2, 64, 1, 7}, {5, 16, 33, 31}, {5, 16}, {2, 4, 4}}) {
    const int64_t c = shape[1], groups = c / 2;
    const torch::Tensor x = draw(shape).to(torch::kFloat);
    const torch::Tensor w = draw({c}, 1).to(torch::kFloat).requires_grad_(), b = draw({c}, 2).to(torch::kFloat), v = draw({c}, 3).to(torch::kFloat);
    for (bool s0 : {true, false}) {
      const auto f = [&](const torch::Tensor& in) {
        return s0 ? evo_norm_s0(in, w, b, v, groups, 1e-2) : evo_norm_b0(in, w, b, v, {}, true, 1e-2).y;
      };
      const torch::Tensor y = f(x);
      ASSERT_EQ(y.sizes(), x.sizes());
      EXPECT_EQ(f(x.to(torch::kBFloat16)).scalar_type(), torch::kBFloat16);
      EXPECT_TRUE(torch::allclose(f(x.to(torch::kDouble)).to(torch::kFloat), y, 1e-4, 1e-5));
      if (x.dim() == 4 && x.numel() > 0) {
        const torch::Tensor z = f(x.contiguous(torch::MemoryFormat::ChannelsLast));
        EXPECT_TRUE(z.is_contiguous(torch::MemoryFormat::ChannelsLast));
        EXPECT_TRUE(torch::allclose(z, y, 1e-4, 1e-5));
      }
    }
  }
}

TEST(EvoNorm, CloneSaveAndLoad) {
  EvoNormB0 a(EvoNormB0Options{.num_features = 3}), b(EvoNormB0Options{.num_features = 3});
  const torch::Tensor x = draw({2, 3, 4, 4}).to(torch::kFloat);
  a->forward(x);
  a->eval();
  b->eval();
  const torch::Tensor y = a->forward(x);
  test::save_and_load(a.ptr(), b.ptr());
  EXPECT_TRUE(torch::equal(b->forward(x), y));
  const auto copy = std::dynamic_pointer_cast<EvoNormB0Impl>(a->clone());
  copy->eval();
  EXPECT_TRUE(torch::equal(copy->forward(x), y));
  copy->train();
  copy->forward(x * 3);
  EXPECT_TRUE(torch::equal(a->running_var, b->running_var));
}

TEST(EvoNorm, ErrorsNameWhatIsRequired) {
  EXPECT_EQ(message_of([] { EvoNormS0(EvoNormS0Options{.num_features = 48}); }),
            "[evo_norm] num_groups must divide channels, got 32 and 48");
  EXPECT_EQ(message_of([] { EvoNormS0(EvoNormS0Options{.num_features = 32})->forward(torch::zeros({4, 32, 1, 1})); }),
            "[evo_norm] each group must hold more than 1 value, got (4, 32, 1, 1) with 32 groups");
  EXPECT_EQ(message_of([] { EvoNormB0(EvoNormB0Options{.num_features = 64})->forward(torch::zeros({1, 64, 1, 1})); }),
            "[evo_norm] x must have more than 1 value per channel in training, got (1, 64, 1, 1)");
  EXPECT_EQ(message_of([] { EvoNormB0(EvoNormB0Options{.num_features = 64})->forward(torch::zeros({8, 32, 4, 4})); }),
            "[evo_norm] x must have 64 channels, got (8, 32, 4, 4)");
  EXPECT_EQ(message_of([] { EvoNormB0(EvoNormB0Options{.num_features = 4, .momentum = 1.5}); }),
            "[evo_norm] momentum must be in [0, 1], got 1.5");
}

}  // namespace
}  // namespace ballast
