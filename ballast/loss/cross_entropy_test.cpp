#include <ballast/loss/cross_entropy.h>

#include <gmock/gmock.h>
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <functional>
#include <vector>

#include <ballast/base/test_message.h>
#include <ballast/loss/test_loss.h>

namespace ballast {
namespace {

using test::draw;

TEST(CrossEntropy, ZeroLogitsGiveLnK) {
  const torch::Tensor target = torch::tensor({0, 3, 9}, torch::kLong);
  for (double e : {0.0, 0.1, 1.0}) {
    EXPECT_NEAR(cross_entropy(torch::zeros({3, 10}, torch::kDouble), target, {.label_smoothing = e}).item<double>(),
                std::log(10.0), 1e-14);
  }
}

TEST(CrossEntropy, TwoClassesByHand) {
  // p = (1/4, 3/4): -log(1/4) for class 0, smoothed by 0.2: 0.9 and 0.1.
  const torch::Tensor logits = torch::tensor({{0.0, std::log(3.0)}}, torch::kDouble);
  const torch::Tensor target = torch::tensor({0}, torch::kLong);
  EXPECT_NEAR(cross_entropy(logits, target).item<double>(), std::log(4.0), 1e-14);
  EXPECT_NEAR(cross_entropy(logits, target, {.label_smoothing = 0.2}).item<double>(),
              0.9 * std::log(4.0) + 0.1 * std::log(4.0 / 3), 1e-14);
}

TEST(CrossEntropy, EqualsLibTorchsWithEveryOption) {
  const torch::Tensor weight = torch::tensor({0.5, 2.0, 1.0, 0.25, 3.0}, torch::kDouble);
  for (bool spatial : {false, true}) {
    const torch::Tensor target = spatial ? torch::tensor({{0, 4, 2}, {1, -100, 3}}, torch::kLong)
                                         : torch::tensor({0, 4, 2, -100, 1, 3}, torch::kLong);
    for (double e : {0.0, 0.1}) {
      for (bool weighted : {false, true}) {
        for (Reduction r : {Reduction::none, Reduction::mean, Reduction::sum}) {
          torch::Tensor a = (spatial ? draw({2, 5, 3}) : draw({6, 5})).requires_grad_();
          torch::Tensor b = a.detach().clone().requires_grad_();
          const torch::Tensor ours = cross_entropy(
              a, target, {.label_smoothing = e, .weight = weighted ? weight : torch::Tensor(), .reduction = r});
          const int64_t code = r == Reduction::none ? at::Reduction::None : r == Reduction::mean ? at::Reduction::Mean : at::Reduction::Sum;
          const torch::Tensor theirs =
              at::cross_entropy_loss(b, target, weighted ? weight : torch::Tensor(), code, -100, e);
          EXPECT_TRUE(torch::allclose(ours, theirs, 1e-12, 1e-12));
          const torch::Tensor g = draw(ours.sizes().vec(), 1);
          ours.backward(g);
          theirs.backward(g);
          EXPECT_TRUE(torch::allclose(a.grad(), b.grad(), 1e-12, 1e-12));
        }
      }
    }
  }
}

TEST(CrossEntropy, SoftEqualsHardOnOneHotsAndLibTorchsOnMixtures) {
  const torch::Tensor target = torch::tensor({1, 0, 3}, torch::kLong);
  const torch::Tensor hot = torch::one_hot(target, 4).to(torch::kDouble);
  const torch::Tensor logits = draw({3, 4});
  for (double e : {0.0, 0.3}) {
    EXPECT_NEAR(cross_entropy(logits, target, {.label_smoothing = e}).item<double>(),
                cross_entropy(logits, hot, {.label_smoothing = e}).item<double>(), 1e-14);
    const torch::Tensor q = torch::softmax(draw({3, 4}, 2), 1);
    EXPECT_NEAR(cross_entropy(logits, q, {.label_smoothing = e}).item<double>(),
                at::cross_entropy_loss(logits, q, {}, at::Reduction::Mean, -100, e).item<double>(), 1e-13);
  }
}

TEST(CrossEntropy, MixEqualsTheProbabilitiesItStandsFor) {
  const torch::Tensor a = torch::tensor({1, 0, 3}, torch::kLong), b = torch::tensor({2, 0, 1}, torch::kLong);
  const torch::Tensor weight = torch::tensor({0.5, 2.0, 1.0, 0.25}, torch::kDouble);
  for (const torch::Tensor& lam : {torch::tensor({0.3, 1.0, 0.0}, torch::kDouble), torch::tensor(0.7, torch::kDouble)}) {
    const torch::Tensor share = lam.expand({3}).unsqueeze(1);
    const torch::Tensor q = share * torch::one_hot(a, 4) + (1 - share) * torch::one_hot(b, 4);
    for (double e : {0.0, 0.2}) {
      for (bool weighted : {false, true}) {
        for (Reduction r : {Reduction::none, Reduction::mean, Reduction::sum}) {
          const CrossEntropyOptions o{.label_smoothing = e, .weight = weighted ? weight : torch::Tensor(), .reduction = r};
          torch::Tensor x = draw({3, 4}).requires_grad_(), y = x.detach().clone().requires_grad_();
          const torch::Tensor mixed = cross_entropy(x, MixTarget{a, b, lam}, o), soft = cross_entropy(y, q, o);
          EXPECT_TRUE(torch::allclose(mixed, soft, 1e-12, 1e-12));
          mixed.sum().backward();
          soft.sum().backward();
          EXPECT_TRUE(torch::allclose(x.grad(), y.grad(), 1e-12, 1e-12));
        }
      }
    }
  }
  EXPECT_EQ(message_of([&] { cross_entropy(draw({3, 4}), MixTarget{a, b, torch::tensor(1.2, torch::kDouble)}); }),
            "[cross_entropy] lam must be in [0, 1], got 1.2");
  EXPECT_EQ(message_of([&] { cross_entropy(draw({3, 3}), MixTarget{a, b, torch::tensor(0.2)}); }),
            "[cross_entropy] target must be in [0, 3), got 3 at (2)");
}

TEST(CrossEntropy, AllRowsIgnoredGiveZeroAndZeroGradients) {
  for (double e : {0.0, 0.1}) {
    torch::Tensor logits = draw({2, 3}).requires_grad_();
    const torch::Tensor loss = cross_entropy(logits, torch::full({2}, -100, torch::kLong), {.label_smoothing = e});
    EXPECT_EQ(loss.item<double>(), 0);
    loss.backward();
    EXPECT_EQ(logits.grad().abs().max().item<double>(), 0);
  }
  EXPECT_EQ(cross_entropy(torch::zeros({0, 3}), torch::zeros({0}, torch::kLong)).item<double>(), 0);
}

TEST(CrossEntropy, LargeScoresStayFinite) {
  torch::Tensor logits = torch::tensor({{1e4, -1e4, 0.0}}, torch::kDouble).requires_grad_();
  const torch::Tensor loss = cross_entropy(logits, torch::tensor({1}, torch::kLong), {.label_smoothing = 0.1});
  EXPECT_TRUE(std::isfinite(loss.item<double>()));
  loss.backward();
  EXPECT_TRUE(torch::isfinite(logits.grad()).all().item<bool>());
}

TEST(CrossEntropy, GradientIsThatOfDifferences) {
  const torch::Tensor weight = torch::tensor({0.5, 2.0, 1.0}, torch::kDouble);
  const torch::Tensor target = torch::tensor({2, 0, 1}, torch::kLong);
  const CrossEntropyOptions options{.label_smoothing = 0.2, .weight = weight};
  torch::Tensor x = draw({3, 3}).requires_grad_();
  cross_entropy(x, target, options).backward();
  for (int64_t i = 0; i < 9; ++i) {
    torch::NoGradGuard no_grad;
    torch::Tensor up = x.detach().clone(), down = up.clone();
    up.view(-1)[i] += 1e-6;
    down.view(-1)[i] -= 1e-6;
    const double slope = (cross_entropy(up, target, options) - cross_entropy(down, target, options)).item<double>() / 2e-6;
    EXPECT_NEAR(x.grad().view(-1)[i].item<double>(), slope, 1e-8);
  }
}

TEST(CrossEntropy, HalfTypesAreRoundedOnce) {
  const torch::Tensor logits = draw({4, 7}).to(torch::kBFloat16);
  const torch::Tensor target = torch::tensor({1, 0, 6, 2}, torch::kLong);
  const torch::Tensor loss = cross_entropy(logits, target);
  EXPECT_EQ(loss.scalar_type(), torch::kBFloat16);
  const double exact = cross_entropy(logits.to(torch::kDouble), target).item<double>();
  EXPECT_NEAR(loss.to(torch::kDouble).item<double>(), exact, std::abs(exact) / 256);
}

// Central differences of the gradient itself, against the gradient of the gradient.
TEST(CrossEntropy, SecondGradientIsThatOfDifferences) {
  const torch::Tensor target = torch::tensor({2, 0, -100}, torch::kLong), lam = torch::tensor({0.3, 1.0, 0.6}, torch::kDouble);
  const torch::Tensor other = torch::tensor({0, 1, 1}, torch::kLong), hard = torch::tensor({2, 0, 1}, torch::kLong);
  const torch::Tensor q = torch::softmax(draw({3, 3}, 2), 1);
  const CrossEntropyOptions o{.label_smoothing = 0.2, .weight = torch::tensor({0.5, 2.0, 1.0}, torch::kDouble)};
  const std::vector<std::function<torch::Tensor(const torch::Tensor&)>> losses = {
      [&](const torch::Tensor& x) { return cross_entropy(x, target, o); },
      [&](const torch::Tensor& x) { return cross_entropy(x, MixTarget{hard, other, lam}, o); },
      [&](const torch::Tensor& x) { return cross_entropy(x, q, o); }};
  for (const auto& loss : losses) {
    torch::Tensor x = draw({3, 3}).requires_grad_();
    const torch::Tensor v = draw({3, 3}, 5);
    const auto slope = [&](const torch::Tensor& at, bool create) {
      return torch::autograd::grad({loss(at)}, {at}, {}, create, create)[0];
    };
    const torch::Tensor hessian_v = torch::autograd::grad({(slope(x, true) * v).sum()}, {x})[0];
    const torch::Tensor up = (x.detach() + 1e-6 * v).requires_grad_(), down = (x.detach() - 1e-6 * v).requires_grad_();
    EXPECT_TRUE(torch::allclose(hessian_v, (slope(up, false) - slope(down, false)) / 2e-6, 1e-6, 1e-8));
  }
}

TEST(CrossEntropy, ATargetOfProbabilitiesHasItsGradient) {
  const torch::Tensor logits = draw({2, 3});
  torch::Tensor q = torch::softmax(draw({2, 3}, 2), 1).requires_grad_();
  cross_entropy(logits, q, {.reduction = Reduction::sum}).backward();
  EXPECT_TRUE(torch::allclose(q.grad(), -torch::log_softmax(logits, 1), 1e-12, 1e-12));
}

TEST(CrossEntropy, MapsOfEveryLayoutAndSameBitsForAnyNumberOfThreads) {
  const torch::Tensor x = draw({4, 37, 9, 11}).to(torch::kFloat), y = (torch::arange(4 * 99) * 7 % 37).view({4, 9, 11});
  std::vector<torch::Tensor> results;
  for (bool last : {false, true}) {
    for (int threads : {1, 2, 4}) {
      at::set_num_threads(threads);
      torch::Tensor leaf = (last ? x.contiguous(at::MemoryFormat::ChannelsLast) : x.clone()).requires_grad_();
      const torch::Tensor loss = cross_entropy(leaf, y, {.label_smoothing = 0.1});
      loss.backward();
      EXPECT_EQ(leaf.grad().suggest_memory_format(), leaf.suggest_memory_format());
      results.push_back(torch::cat({loss.view(1), leaf.grad().flatten()}).detach());
    }
  }
  for (const torch::Tensor& r : results) EXPECT_TRUE(torch::equal(r, results[0]));
  torch::Tensor theirs = x.clone().requires_grad_();
  const torch::Tensor loss = at::cross_entropy_loss(theirs, y, {}, at::Reduction::Mean, -100, 0.1);
  loss.backward();
  EXPECT_TRUE(torch::allclose(results[0], torch::cat({loss.view(1), theirs.grad().flatten()}), 1e-5, 1e-7));
}

TEST(CrossEntropy, OperatorHasShapesWithoutData) {
  const torch::Tensor x = torch::empty({4, 10, 3}, torch::TensorOptions().device(torch::kMeta));
  const torch::Tensor y = torch::empty({4, 3}, torch::TensorOptions().device(torch::kMeta).dtype(torch::kLong));
  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("ballast::cross_entropy", "");
  torch::jit::Stack stack = {x, y, c10::IValue(), c10::IValue(), c10::IValue(), 0.0, -100};
  op.callBoxed(&stack);
  EXPECT_EQ(stack.at(0).toTensor().sizes(), (std::vector<int64_t>{4, 3}));
  EXPECT_EQ(stack.at(1).toTensor().size(0), 12);
}

TEST(CrossEntropy, ErrorsSayWhereAndWhat) {
  const torch::Tensor logits = torch::zeros({4, 10});
  const torch::Tensor target = torch::tensor({1, 2, 3, 10}, torch::kLong);
  EXPECT_EQ(message_of([&] { cross_entropy(logits, target); }),
            "[cross_entropy] target must be in [0, 10), got 10 at (3)");
  EXPECT_EQ(message_of([&] { cross_entropy(logits, target, {.label_smoothing = 1.5}); }),
            "[cross_entropy] label_smoothing must be in [0, 1], got 1.5");
  EXPECT_EQ(message_of([&] { cross_entropy(logits, torch::zeros({3}, torch::kLong)); }),
            "[cross_entropy] target must have the shape of the rows of logits, got (3) and (4, 10)");
  EXPECT_THAT(message_of([&] { cross_entropy(logits, torch::full({4, 10}, 0.08)); }),
              testing::StartsWith("[cross_entropy] target rows must sum to 1, got 0.8"));
  EXPECT_THAT(message_of([&] { cross_entropy(logits, torch::zeros({4}, torch::kInt)); }),
              testing::StartsWith("[cross_entropy] target must be int64 classes"));
  EXPECT_EQ(message_of([&] { cross_entropy(logits, target, {.weight = torch::ones({3})}); }),
            "[cross_entropy] weight must have shape (10), got (3)");
}

}  // namespace
}  // namespace ballast
