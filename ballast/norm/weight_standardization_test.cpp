#include <ballast/norm/weight_standardization.h>

#include <gtest/gtest.h>

#include <cmath>

#include <ballast/base/test_message.h>
#include <ballast/norm/test_gradients.h>

namespace ballast {
namespace {

using test::draw;

TEST(WeightStandardization, ByHand) {
  const torch::Tensor w = torch::tensor({{1.0, 2.0, 3.0, 6.0}}, torch::kDouble);
  const double is = 1 / std::sqrt(3.5 + 1e-6);
  EXPECT_TRUE(torch::allclose(weight_standardization(w), torch::tensor({{-2 * is, -is, 0.0, 3 * is}}, torch::kDouble)));
  // relu: Var = 1/2 - 1/(2 pi); fan_in 4.
  const double scale = 5 / std::sqrt(0.5 - 0.5 / M_PI) / 2;
  EXPECT_TRUE(torch::allclose(scaled_weight_standardization(w, torch::tensor({5.0}, torch::kDouble), Act::relu),
                              torch::tensor({{-2 * is, -is, 0.0, 3 * is}}, torch::kDouble) * scale));
}

TEST(WeightStandardization, ScaleAndShiftOfTheWeightDoNotCount) {
  const torch::Tensor w = draw({4, 3, 3, 3});
  EXPECT_TRUE(torch::allclose(weight_standardization(3 * w + 1), weight_standardization(w), 1e-6, 1e-6));
}

TEST(WeightStandardization, GradientsAreThoseOfDifferencesAndOfTheFormula) {
  test::expect_gradients([](const test::Inputs& x) { return weight_standardization(x[0], 1e-3); }, {draw({3, 2, 2})});
  test::expect_gradients([](const test::Inputs& x) { return scaled_weight_standardization(x[0], x[1], Act::silu, 1e-3); },
                         {draw({3, 4}), draw({3, 1}, 2)});
  torch::Tensor w = draw({3, 7}).requires_grad_();
  const torch::Tensor hat = weight_standardization(w), g = draw({3, 7}, 8);
  (hat * g).sum().backward();
  const torch::Tensor is = (w.detach().var(1, false, true) + 1e-6).rsqrt();
  const torch::Tensor h = hat.detach();
  EXPECT_TRUE(torch::allclose(w.grad(), is * (g - g.mean(1, true) - h * (g * h).mean(1, true)), 1e-10, 1e-12));
}

TEST(WeightStandardization, HalfTypesAreComputedInFloat) {
  const torch::Tensor w = (draw({4, 300}) + 20).to(torch::kBFloat16);
  EXPECT_TRUE(torch::allclose(weight_standardization(w).to(torch::kDouble), weight_standardization(w.to(torch::kDouble)),
                              1.0 / 128, 1e-3));
}

TEST(WeightStandardization, AScaledLayerKeepsTheVarianceThroughAnActivation) {
  ScaledStdConv2d layer(Conv2dLayerOptions{.in_channels = 256, .out_channels = 64, .kernel_size = {1, 1}, .bias = false, .key = Key(1)});
  std::vector<double> z(256 * 900);
  fill_normal(Key(5), 0, z);
  const torch::Tensor x = torch::from_blob(z.data(), {1, 256, 30, 30}, torch::kDouble).to(torch::kFloat).relu();
  // 57600 values of a ratio of variances; those of one filter share its weights, so 64 filters count.
  EXPECT_NEAR(layer->forward(x).var().item<double>(), 1, 5 * std::sqrt(2.0 / 900));
}

TEST(WeightStandardization, LayersHaveTimmsNamesAndCanBeRemoved) {
  const torch::Tensor x = draw({2, 4, 5, 6}).to(torch::kFloat);
  StdConv2d std_conv(Conv2dLayerOptions{.in_channels = 4, .out_channels = 6, .groups = 2, .key = Key(1)});
  ScaledStdConv2d scaled(Conv2dLayerOptions{.in_channels = 4, .out_channels = 6, .padding = {1, 1}, .key = Key(1)},
                         WeightStandardizationOptions{.act = Act::gelu});
  {
    torch::NoGradGuard no_grad;
    scaled->gain.mul_(0.3);
  }
  const auto state = test::tensors_of(*scaled);
  ASSERT_EQ(state.size(), 3u);
  EXPECT_EQ(state.at("gain").sizes(), (std::vector<int64_t>{6, 1, 1, 1}));
  EXPECT_EQ(state.at("weight").sizes(), (std::vector<int64_t>{6, 4, 3, 3}));
  EXPECT_TRUE(torch::allclose(std_conv->remove()->forward(x), std_conv->forward(x), 1e-5, 1e-6));
  EXPECT_TRUE(torch::allclose(scaled->remove()->forward(x), scaled->forward(x), 1e-5, 1e-6));
  EXPECT_TRUE(torch::allclose(
      scaled->remove()->weight,
      scaled_weight_standardization(scaled->weight, scaled->gain, Act::gelu), 1e-6, 1e-7));
}

TEST(WeightStandardization, CloneSaveAndLoad) {
  ScaledStdConv2d a(Conv2dLayerOptions{.in_channels = 2, .out_channels = 3, .key = Key(1)}), b(Conv2dLayerOptions{.in_channels = 2, .out_channels = 3, .key = Key(2)});
  {
    torch::NoGradGuard no_grad;
    a->gain.fill_(0.25);
  }
  const torch::Tensor x = draw({2, 2, 5, 6}).to(torch::kFloat), y = a->forward(x);
  test::save_and_load(a.ptr(), b.ptr());
  EXPECT_TRUE(torch::equal(b->forward(x), y));
  const auto copy = std::dynamic_pointer_cast<ScaledStdConv2dImpl>(a->clone());
  EXPECT_TRUE(torch::equal(copy->forward(x), y));
  {
    torch::NoGradGuard no_grad;
    copy->gain.fill_(7);
  }
  EXPECT_TRUE(torch::equal(a->forward(x), y));
}

TEST(WeightStandardization, ErrorsNameWhatIsRequired) {
  EXPECT_EQ(message_of([] { StdConv2d(Conv2dLayerOptions{.in_channels = 1, .out_channels = 3, .kernel_size = {1, 1}}); }),
            "[weight_standardization] fan_in must be > 1, got 1");
  EXPECT_EQ(message_of([] { weight_standardization(draw({8, 2}), 0); }), "[weight_standardization] eps must be > 0, got 0");
  EXPECT_EQ(message_of([] { weight_standardization(draw({8})); }),
            "[weight_standardization] w must have at least 2 dimensions, got (8)");
  EXPECT_EQ(message_of([] { scaled_weight_standardization(draw({8, 2}), draw({2}), Act::relu); }),
            "[weight_standardization] gain must have one value for each filter, got (2) for (8, 2)");
}

}  // namespace
}  // namespace ballast
