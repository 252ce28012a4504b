#include <ballast/drop/dropout.h>

#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>

#include <ballast/base/step_scope.h>
#include <ballast/base/stream.h>
#include <ballast/base/test_message.h>
#include <ballast/drop/alpha_dropout.h>
#include <ballast/drop/drop_block.h>
#include <ballast/drop/spatial_dropout.h>
#include <ballast/drop/test_drop.h>

namespace ballast {
namespace {

using namespace test;

torch::Tensor elements_dropped(const torch::Tensor& x, double p, uint64_t seed = 0, int64_t first_row = 0) {
  return dropout(x, {.p = p}, true, Key(seed), first_row);
}

TEST(Dropout, KnownAnswerOfKeyZero) {
  // The first 16-bit draws at i = 0, 16, ..., 112 are e8d5 6627 c58d e169 ac4c bc57 dbd8 9b00: one is below 8000.
  const torch::Tensor y = elements_dropped(torch::ones({128}), 0.5);
  for (int64_t i = 0; i < 128; i += 16) EXPECT_EQ(y[i].item<float>(), i == 16 ? 0.0f : 2.0f) << i;
}

TEST(Dropout, RateIsMetWithinFiveStandardErrors) {
  const int64_t n = 1 << 20;
  for (double p : {1e-6, 0.01, 0.1, 0.5, 0.9, 0.999999}) {
    for (uint64_t seed = 0; seed < 10; ++seed) {
      expect_count(zeros_in(elements_dropped(torch::ones({n}), p, seed)), static_cast<double>(n), effective_p(p));
    }
    EXPECT_NEAR(effective_p(p), p, 0x1p-17);
  }
  EXPECT_EQ(zeros_in(elements_dropped(torch::ones({n}), 1e-10)), 0);
  EXPECT_NEAR(effective_p(1e-6), 1e-6, 1e-9);
}

TEST(Dropout, RateIsMetOver100MillionElements) {
  if (std::getenv("BALLAST_SLOW_TESTS") == nullptr) GTEST_SKIP() << "set BALLAST_SLOW_TESTS to run it";
  const int64_t part = 10'000'000;
  for (double p : {1e-6, 0.01, 0.1, 0.5, 0.9, 0.999999}) {
    int64_t zeros = 0;
    for (int64_t row = 0; row < 10; ++row) zeros += zeros_in(elements_dropped(torch::ones({1, part}), p, 3, row));
    expect_count(zeros, 1e8, effective_p(p));
  }
}

TEST(Dropout, ZeroIsTheIdentityAndOneGivesZerosWithZeroGradients) {
  const torch::Tensor x = draw({4, 5}).requires_grad_();
  EXPECT_TRUE(dropout(x, {.p = 0}, true, Key(1)).is_same(x));
  EXPECT_TRUE(dropout(x, {.p = 0.3}, false, Key(1)).is_same(x));
  const torch::Tensor y = elements_dropped(x, 1);
  EXPECT_EQ(zeros_in(y), 20);
  y.sum().backward();
  EXPECT_EQ(zeros_in(x.grad()), 20);
}

TEST(Dropout, KeptValuesAreScaledAndGradientHasTheMaskOfTheForward) {
  for (double p : {0.1, 0.5, 0.001}) {
    torch::Tensor x = draw({7, 33}).requires_grad_();
    const torch::Tensor y = elements_dropped(x, p);
    y.backward(torch::ones_like(y));
    const torch::Tensor kept = (y != 0).to(torch::kDouble);
    EXPECT_TRUE(torch::allclose(y, x * kept / (1 - effective_p(p)), 1e-14, 0));
    EXPECT_TRUE(torch::allclose(x.grad(), kept / (1 - effective_p(p)), 1e-14, 0));
  }
}

TEST(Dropout, DroppedValuesAreZeroEvenWhereTheyAreNotFinite) {
  const torch::Tensor x = torch::full({256}, std::numeric_limits<float>::quiet_NaN());
  const torch::Tensor y = elements_dropped(x, 0.5);
  EXPECT_EQ(zeros_in(y), zeros_in(elements_dropped(torch::ones({256}), 0.5)));
}

TEST(Dropout, ScalingsDifferByExactlyTheKeptShare) {
  const torch::Tensor x = draw({100, 10});
  const DropoutOptions inference{.p = 0.5, .scaling = Scaling::inference};  // a scale of 2 is exact
  EXPECT_TRUE(torch::equal(dropout(x, inference, true, Key(5)), dropout(x, {.p = 0.5}, true, Key(5)) * 0.5));
  EXPECT_TRUE(torch::equal(dropout(x, inference, false, Key(5)), x * 0.5));
  // Both forms agree in expectation: the mean over many masks is x, and (1 - p) x.
  torch::Tensor sum = torch::zeros_like(x);
  for (uint64_t seed = 0; seed < 2000; ++seed) sum += elements_dropped(x, 0.25, seed);
  const torch::Tensor error = (sum / 2000 - x).abs() / (x.abs() * std::sqrt(0.25 / 0.75 / 2000));
  EXPECT_LE(error.max().item<double>(), 5);
}

TEST(Dropout, NeighboursLayersStepsAndSamplesAreUncorrelated) {
  const int64_t n = 1 << 18;
  const auto mask = [&](Key key) { return dropout(torch::ones({n}), {.p = 0.5}, true, key) == 0; };
  const torch::Tensor a = mask(Key(1).fold_in("drop").fold_in("a").fold_in(0));
  expect_uncorrelated(a, mask(Key(1).fold_in("drop").fold_in("b").fold_in(0)));
  expect_uncorrelated(a, mask(Key(1).fold_in("drop").fold_in("a").fold_in(1)));
  expect_uncorrelated(a, mask(Key(2).fold_in("drop").fold_in("a").fold_in(0)));
  for (int64_t lag : {1, 2, 16, 128, 1024}) expect_uncorrelated(a.slice(0, lag), a.slice(0, 0, n - lag));
}

TEST(Dropout, LayoutsTypesAndShapesAgree) {
  expect_layouts_and_types([](const torch::Tensor& x) { return elements_dropped(x, 0.3, 4); },
                           {{1, 1, 1, 1}, {5, 17, 1, 7}, {5, 64, 5, 3}, {1, 17, 33, 31}, {5, 3}, {3, 4, 5, 2, 3}});
  EXPECT_EQ(elements_dropped(torch::empty({0, 3}), 0.5).sizes(), (std::vector<int64_t>{0, 3}));
  // An expanded tensor is a tensor of equal rows.
  const torch::Tensor x = draw({1, 40}).expand({6, 40});
  EXPECT_TRUE(torch::equal(elements_dropped(x, 0.5), elements_dropped(x.contiguous(), 0.5)));
}

TEST(Dropout, RowsKeepTheirMasksInAnyBatch) {
  const torch::Tensor x = draw({8, 3, 5, 7});
  const torch::Tensor parts = torch::cat({elements_dropped(x.slice(0, 0, 3), 0.5), elements_dropped(x.slice(0, 3), 0.5, 0, 3)});
  EXPECT_TRUE(torch::equal(elements_dropped(x, 0.5), parts));
}

TEST(Dropout, SameBitsForThreadsAndInstructionSets) {
  const torch::Tensor x = draw({6, 20, 33, 31}).to(torch::kFloat);
  expect_same_bits([&] { return elements_dropped(x, 0.3, 9); });
  expect_same_bits([&] { return elements_dropped(x.contiguous(torch::MemoryFormat::ChannelsLast), 0.3, 9); });
  expect_same_bits([&] { return elements_dropped(x.to(torch::kBFloat16), 0.003, 9).to(torch::kFloat); });
}

TEST(Dropout, GradientsAreThoseOfDifferences) {
  expect_gradients([](const std::vector<torch::Tensor>& in) { return elements_dropped(in[0], 0.4, 2); }, {draw({3, 5})});
}

TEST(Dropout, OperatorHasMetaAndLeavesItsInput) {
  expect_meta_and_unchanged([](const torch::Tensor& x) { return elements_dropped(x, 0.4); }, draw({3, 5}).to(torch::kFloat));
}

TEST(Dropout, LayerDrawsByScopeNameStepAndCall) {
  Dropout a, b;
  a->set_layer_name("a");
  b->set_layer_name("b");
  const torch::Tensor x = torch::ones({1000});
  const auto forward = [&](Dropout& layer, uint64_t seed, uint64_t step, int calls = 1) {
    const StepScope scope(seed, 0, step);
    torch::Tensor y;
    for (int i = 0; i < calls; ++i) y = layer(x);
    return y;
  };
  const torch::Tensor y = forward(a, 1, 5);
  EXPECT_TRUE(torch::equal(y, forward(a, 1, 5)));
  EXPECT_TRUE(torch::equal(y, dropout(x, {}, true, Key(1).fold_in("drop").fold_in("dropout").fold_in("a").fold_in(5).fold_in(0))));
  EXPECT_FALSE(torch::equal(y, forward(a, 1, 6)));
  EXPECT_FALSE(torch::equal(y, forward(a, 2, 5)));
  EXPECT_FALSE(torch::equal(y, forward(a, 1, 5, 2)));
  const torch::Tensor other = forward(b, 1, 5);
  EXPECT_FALSE(torch::equal(y, other));
  // A changed name changes its own mask only.
  a->set_layer_name("c");
  EXPECT_FALSE(torch::equal(y, forward(a, 1, 5)));
  EXPECT_TRUE(torch::equal(other, forward(b, 1, 5)));
  // A copy draws the same masks.
  const auto copy = std::dynamic_pointer_cast<DropoutImpl>(b->clone());
  const StepScope scope(1, 0, 5);
  EXPECT_TRUE(torch::equal(other, copy->forward(x)));
}

TEST(Dropout, WithoutAScopeEveryForwardAndEveryLayerDiffers) {
  Dropout a, b;
  const torch::Tensor x = torch::ones({1000});
  const torch::Tensor y = a(x);
  EXPECT_FALSE(torch::equal(y, a(x)));
  EXPECT_FALSE(torch::equal(y, b(x)));
  a->eval();
  EXPECT_TRUE(a(x).is_same(x));
  a->set_mode(DropMode::always);
  EXPECT_FALSE(torch::equal(a(x), x));
  a->train();
  a->set_mode(DropMode::never);
  EXPECT_TRUE(a(x).is_same(x));
}

// The whole goes past the caches, its parts are too small for that.
TEST(Dropout, LargeTensorsEqualTheirParts) {
  const torch::Tensor x = at::arange(40 * 128 * 32 * 32, torch::kFloat).view({40, 128, 32, 32});
  const std::vector<std::function<torch::Tensor(const torch::Tensor&, int64_t)>> drops = {
      [](const auto& t, int64_t row) { return dropout(t, {.p = 0.3}, true, Key(3), row); },
      [](const auto& t, int64_t row) { return spatial_dropout(t, {.p = 0.3}, true, Key(3), row); },
      [](const auto& t, int64_t row) { return drop_block(t, {.p = 0.3}, true, Key(3), row); },
      [](const auto& t, int64_t row) { return alpha_dropout(t, {.p = 0.3}, true, Key(3), row); }};
  for (size_t k = 0; k < drops.size(); ++k) {
    for (const torch::Tensor& whole : {x, x.contiguous(at::MemoryFormat::ChannelsLast), at::cat({x, x}).to(torch::kBFloat16)}) {
      ASSERT_GE(whole.nbytes(), static_cast<size_t>(kStreamBytes));
      std::vector<torch::Tensor> parts;
      for (int64_t row = 0; row < whole.size(0); row += 20) parts.push_back(drops[k](whole.narrow(0, row, 20), row));
      EXPECT_TRUE(torch::equal(drops[k](whole, 0), at::cat(parts))) << k << ' ' << whole.scalar_type();
    }
  }
}

TEST(Dropout, NamesAndRatesReachAllLayersOfAModel) {
  torch::nn::Sequential model(Dropout(), torch::nn::Linear(3, 3), Dropout());
  name_layers(*model);
  EXPECT_EQ(model->at<DropoutImpl>(0).layer_name(), "0");
  EXPECT_EQ(model->at<DropoutImpl>(2).layer_name(), "2");
  EXPECT_EQ(set_drop_rate(*model, "dropout", 0.2), 2);
  EXPECT_EQ(set_drop_rate(*model, "drop_block", 0.1), 0);
  EXPECT_EQ(model->at<DropoutImpl>(2).options.p, 0.2);
}

TEST(Dropout, ErrorsSayWhatIsRequired) {
  const torch::Tensor x = torch::ones({4});
  EXPECT_EQ(message_of([&] { elements_dropped(x, 1.5); }), "[dropout] p must be in [0, 1], got 1.5");
  EXPECT_EQ(message_of([&] { elements_dropped(x, -0.1); }), "[dropout] p must be in [0, 1], got -0.1");
  EXPECT_EQ(message_of([&] { elements_dropped(x, std::nan("")); }), "[dropout] p must be in [0, 1], got nan");
  EXPECT_EQ(message_of([&] { elements_dropped(torch::ones({4}, torch::kLong), 0.5); }), "[dropout] x must be floating point, got Long");
  EXPECT_EQ(message_of([&] { elements_dropped(torch::ones({}), 0.5); }), "[dropout] x must have at least 1 dimension, got ()");
  EXPECT_EQ(message_of([&] { Dropout(DropoutOptions{.p = 2}); }), "[dropout] p must be in [0, 1], got 2");
}

}  // namespace
}  // namespace ballast
