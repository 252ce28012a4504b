#include <ballast/norm/filter_response_norm.h>

#include <gtest/gtest.h>

#include <cmath>

#include <ballast/base/test_message.h>
#include <ballast/norm/test_gradients.h>

namespace ballast {
namespace {

using test::draw;

TEST(FilterResponseNorm, ByHand) {
  const torch::Tensor x = torch::tensor({3.0, 4.0}, torch::kDouble).view({1, 1, 1, 2});
  const double r = 1 / std::sqrt(12.5 + 1e-6);
  const auto one = [](double v) { return torch::tensor({v}, torch::kDouble); };
  EXPECT_TRUE(torch::allclose(filter_response_norm(x, one(1), one(0), {}, {}, 1e-6), x * r, 1e-12, 0));
  EXPECT_TRUE(torch::allclose(filter_response_norm(x, one(2), one(-1.8), one(0.2), {}, 1e-6).flatten(),
                              torch::tensor({0.2, 8 * r - 1.8}, torch::kDouble), 1e-12, 0));
  const double learned = 1 / std::sqrt(12.5 + 1e-6 + 3);
  EXPECT_TRUE(torch::allclose(filter_response_norm(x, one(1), one(0), {}, one(-3), 1e-6), x * learned, 1e-12, 0));
}

TEST(FilterResponseNorm, ScaleOfTheInputDoesNotCount) {
  const torch::Tensor x = draw({2, 3, 5, 4}), w = draw({3}, 1), b = draw({3}, 2), t = draw({3}, 3);
  EXPECT_TRUE(torch::allclose(filter_response_norm(5 * x, w, b, t, {}, 1e-12), filter_response_norm(x, w, b, t, {}, 1e-12),
                              1e-9, 1e-10));
}

TEST(FilterResponseNorm, GradientsAreThoseOfDifferences) {
  const auto f = [](const test::Inputs& in) { return filter_response_norm(in[0], in[1], in[2], in[3], in[4], 1e-3); };
  test::expect_gradients(f, {draw({2, 2, 3, 2}), draw({2}, 1), draw({2}, 2), draw({2}, 3) * 0.2, draw({1}, 4)});
}

TEST(FilterResponseNorm, AtTheThresholdTheGradientIsTheThresholds) {
  FilterResponseNorm norm(FilterResponseNormOptions{.num_features = 2});
  torch::Tensor x = torch::zeros({1, 2, 3, 3}).requires_grad_();
  norm->forward(x).sum().backward();
  EXPECT_EQ(norm->tau.grad()[0].item<float>(), 9);
  EXPECT_EQ(norm->bias.grad()[0].item<float>(), 0);
  EXPECT_EQ(x.grad().abs().max().item<float>(), 0);
}

TEST(FilterResponseNorm, ShapesLayoutsAndTypes) {
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{
           {0, 17, 5, 3}, {5, 1, 1, 1}, {1, 64, 1, 7}, {5, 17, 33, 31}, {5, 17}, {2, 3, 4}, {2, 3, 2, 3, 2}}) {
    FilterResponseNorm norm(FilterResponseNormOptions{.num_features = shape[1], .learn_eps = true});
    const torch::Tensor x = draw(shape).to(torch::kFloat);
    const torch::Tensor y = norm->forward(x);
    ASSERT_EQ(y.sizes(), x.sizes());
    EXPECT_TRUE(torch::equal(y, norm->forward(x.transpose(0, 1).contiguous().transpose(0, 1))));
    const torch::Tensor half = norm->forward(x.to(torch::kBFloat16));
    EXPECT_EQ(half.scalar_type(), torch::kBFloat16);
    EXPECT_TRUE(torch::allclose(half.to(torch::kFloat), y, 1.0 / 64, 1.0 / 64));
    if (x.dim() == 4) {
      const torch::Tensor z = norm->forward(x.contiguous(torch::MemoryFormat::ChannelsLast));
      EXPECT_TRUE(z.is_contiguous(torch::MemoryFormat::ChannelsLast));
      EXPECT_TRUE(torch::allclose(z, y, 1e-5, 1e-6));
    }
    y.sum().backward();
    EXPECT_TRUE(norm->weight.grad().defined());
  }
}

TEST(FilterResponseNorm, CloneSaveLoadAndErrors) {
  FilterResponseNorm a(FilterResponseNormOptions{.num_features = 3, .learn_eps = true}), b(a->options);
  {
    torch::NoGradGuard no_grad;
    a->tau.fill_(0.7);
    a->eps.fill_(2);
  }
  const torch::Tensor x = draw({2, 3, 4, 4}).to(torch::kFloat), y = a->forward(x);
  test::save_and_load(a.ptr(), b.ptr());
  EXPECT_TRUE(torch::equal(b->forward(x), y));
  const auto copy = std::dynamic_pointer_cast<FilterResponseNormImpl>(a->clone());
  EXPECT_TRUE(torch::equal(copy->forward(x), y));
  EXPECT_EQ(test::tensors_of(*a).count("tau") + test::tensors_of(*a).count("eps"), 2u);
  EXPECT_EQ(message_of([] { filter_response_norm(draw({8, 32, 4, 4}), draw({64}), {}, {}, {}, 1e-6); }),
            "[filter_response_norm] x must have 64 channels, got (8, 32, 4, 4)");
  EXPECT_EQ(message_of([] { FilterResponseNorm(FilterResponseNormOptions{.num_features = 2, .eps = 0}); }),
            "[filter_response_norm] eps must be > 0, got 0");
  EXPECT_EQ(message_of([] { filter_response_norm(draw({8}), draw({8}), {}, {}, {}, 1e-6); }),
            "[filter_response_norm] x must have at least 2 dimensions, got (8)");
}

}  // namespace
}  // namespace ballast
