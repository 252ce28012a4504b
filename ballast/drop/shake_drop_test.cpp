#include <ballast/drop/shake_drop.h>

#include <ballast/base/step_scope.h>
#include <ballast/base/test_message.h>
#include <ballast/drop/test_drop.h>

namespace ballast {
namespace {

using namespace test;

torch::Tensor shaken(const torch::Tensor& x, double p, uint64_t seed = 3, int64_t first_row = 0) {
  return shake_drop(x, {.p = p}, true, Key(seed), first_row);
}

// The factors of forward and backward, row by row.
std::pair<torch::Tensor, torch::Tensor> factors(int64_t rows, double p, uint64_t seed = 3) {
  const torch::Tensor x = torch::ones({rows, 1}, torch::kDouble).requires_grad_();
  const torch::Tensor y = shaken(x, p, seed);
  y.sum().backward();
  return {y.detach().flatten(), x.grad().flatten()};
}

TEST(ShakeDrop, FactorsAreThoseOfThePaper) {
  constexpr int64_t kRows = 200'000;
  const auto [forward, backward] = factors(kRows, 0.3);
  const torch::Tensor whole = forward == 1;
  EXPECT_TRUE(torch::equal(whole, backward == 1)) << "the gate is that of the forward";
  expect_count((forward != 1).sum().item<int64_t>(), kRows, 0.3);
  const torch::Tensor a = forward.masked_select(~whole), b = backward.masked_select(~whole);
  const auto n = static_cast<double>(a.numel());
  EXPECT_TRUE((a.abs() < 1).all().item<bool>());
  EXPECT_TRUE(((b > 0) & (b < 1)).all().item<bool>());
  // Mean and variance of U(-1, 1) and U(0, 1), within 5 standard errors; the fourth moments are 1/5 and 1/80 about the mean.
  EXPECT_NEAR(a.mean().item<double>(), 0, 5 * std::sqrt(1 / 3.0 / n));
  EXPECT_NEAR(b.mean().item<double>(), 0.5, 5 * std::sqrt(1 / 12.0 / n));
  EXPECT_NEAR(a.square().mean().item<double>(), 1 / 3.0, 5 * std::sqrt((1 / 5.0 - 1 / 9.0) / n));
  EXPECT_NEAR((b - 0.5).square().mean().item<double>(), 1 / 12.0, 5 * std::sqrt((1 / 80.0 - 1 / 144.0) / n));
  expect_uncorrelated(a, b);
  expect_uncorrelated(a.slice(0, 1), a.slice(0, 0, -1));
}

TEST(ShakeDrop, EvalIsTheMeanAndTheEndsAreSimple) {
  const torch::Tensor x = draw({4, 3, 2, 2});
  EXPECT_TRUE(torch::equal(shake_drop(x, {.p = 0.3}, false, Key(1)), x * 0.7));
  EXPECT_TRUE(shaken(x, 0).is_same(x));
  const auto [forward, backward] = factors(1000, 1);
  EXPECT_EQ((forward == 1).sum().item<int64_t>(), 0);
  // E[factor] = 1 - p.
  const auto [many, gradient] = factors(200'000, 0.5, 9);
  EXPECT_NEAR(many.mean().item<double>(), 0.5, 5 * std::sqrt((0.5 + 0.5 / 3 - 0.25) / 200'000));
}

TEST(ShakeDrop, RowsLayoutsTypesAndThreads) {
  expect_layouts_and_types([](const torch::Tensor& x) { return shaken(x, 0.5); }, {{6, 3, 4, 5}, {5, 7}, {3}});
  const torch::Tensor x = draw({8, 3, 2, 2});
  EXPECT_TRUE(torch::equal(shaken(x, 0.5), torch::cat({shaken(x.slice(0, 0, 3), 0.5), shaken(x.slice(0, 3), 0.5, 3, 3)})));
  EXPECT_FALSE(torch::equal(shaken(x, 0.5), shaken(x, 0.5, 4)));
  expect_same_bits([&] { return shaken(x, 0.5); });
  expect_meta_and_unchanged([](const torch::Tensor& t) { return shaken(t, 0.5); }, x);
}

TEST(ShakeDrop, TheSecondDerivativeIsThatOfTheBackward) {
  const torch::Tensor x = draw({6, 2}).requires_grad_();
  const torch::Tensor weights = draw({6, 2}, 0.4).requires_grad_();
  const torch::Tensor dx = torch::autograd::grad({(shaken(x, 0.7) * weights).sum()}, {x}, {}, true, true)[0];
  const torch::Tensor dw = torch::autograd::grad({dx.sum()}, {weights})[0];
  EXPECT_TRUE(torch::allclose(dw * weights, dx));
}

TEST(ShakeDrop, TheModuleDrawsByNameAndStep) {
  ShakeDrop module(ShakeDropOptions{.p = 0.5});
  const torch::Tensor x = draw({16, 2});
  const StepScope scope(1, 0, 5);
  const torch::Tensor y = module->forward(x);
  EXPECT_FALSE(torch::equal(y, module->forward(x))) << "the second call of a step";
  module->eval();
  EXPECT_TRUE(torch::equal(module->forward(x), x * 0.5));
  module->set_mode(DropMode::never);
  EXPECT_TRUE(module->forward(x).is_same(x));
}

TEST(ShakeDrop, ErrorsSayWhatIsRequired) {
  const torch::Tensor x = torch::ones({2, 3});
  EXPECT_EQ(message_of([&] { shaken(x, 1.5); }), "[shake_drop] p must be in [0, 1], got 1.5");
  EXPECT_EQ(message_of([&] { shaken(x, std::nan("")); }), "[shake_drop] p must be in [0, 1], got nan");
  EXPECT_EQ(message_of([&] { shaken(x.to(torch::kLong), 0.5); }), "[shake_drop] x must be floating point, got Long");
  EXPECT_EQ(message_of([&] { shaken(torch::ones({}), 0.5); }), "[shake_drop] x must have at least 1 dimension, got ()");
  EXPECT_EQ(shaken(torch::ones({0, 3}), 0.5).numel(), 0);
}

}  // namespace
}  // namespace ballast
