#include <ballast/norm/norm.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include <ballast/base/test_message.h>
#include <ballast/norm/evo_norm.h>
#include <ballast/norm/filter_response_norm.h>
#include <ballast/norm/test_gradients.h>

namespace ballast {
namespace {

using test::draw;

Norm make(NormOptions options) {
  Norm norm(options);
  norm->to(torch::kDouble);
  if (norm->weight.defined()) {
    torch::NoGradGuard no_grad;
    norm->weight.copy_(torch::linspace(0.5, 1.5, options.channels));
    if (norm->bias.defined()) norm->bias.copy_(torch::linspace(-1, 1, options.channels));
  }
  return norm;
}

// Statistics over the given dimensions of a view of x, in plain words.
torch::Tensor plain(const torch::Tensor& x, std::vector<int64_t> over, double eps) {
  const torch::Tensor mean = x.mean(over, true);
  const torch::Tensor var = (x - mean).square().mean(over, true);
  return (x - mean) / (var + eps).sqrt();
}

TEST(Norm, BatchByHand) {
  Norm norm(NormOptions{.kind = NormKind::batch, .channels = 1});
  norm->to(torch::kDouble);
  const torch::Tensor y = norm->forward(torch::tensor({1.0, 2.0, 3.0, 6.0}, torch::kDouble).reshape({4, 1}));
  const double is = 1 / std::sqrt(3.5 + 1e-5);
  EXPECT_TRUE(torch::allclose(y.flatten(), torch::tensor({-2 * is, -is, 0.0, 3 * is}, torch::kDouble)));
  EXPECT_NEAR(norm->running_mean.item<double>(), 0.3, 1e-12);
  EXPECT_NEAR(norm->running_var.item<double>(), 0.9 + 0.1 * 14 / 3, 1e-12);
  EXPECT_EQ(norm->num_batches_tracked.item<int64_t>(), 1);
}

TEST(Norm, EveryKindEqualsItsFormula) {
  const torch::Tensor x = draw({3, 6, 5, 4});
  const auto affine = [](const torch::Tensor& h, const Norm& norm) {
    return h * norm->weight.view({1, -1, 1, 1}) + norm->bias.view({1, -1, 1, 1});
  };
  Norm batch = make({.kind = NormKind::batch, .channels = 6});
  EXPECT_TRUE(torch::allclose(batch->forward(x), affine(plain(x, {0, 2, 3}, 1e-5), batch), 1e-9, 1e-10));
  Norm layer = make({.kind = NormKind::layer, .channels = 6});
  EXPECT_TRUE(torch::allclose(layer->forward(x), affine(plain(x, {1, 2, 3}, 1e-5), layer), 1e-9, 1e-10));
  Norm instance = make({.kind = NormKind::instance, .channels = 6});
  EXPECT_TRUE(torch::allclose(instance->forward(x), affine(plain(x, {2, 3}, 1e-5), instance), 1e-9, 1e-10));
  Norm group = make({.kind = NormKind::group, .channels = 6, .groups = 3});
  EXPECT_TRUE(torch::allclose(group->forward(x),
                              affine(plain(x.view({3, 3, 2, 5, 4}), {2, 3, 4}, 1e-5).view(x.sizes()), group), 1e-9, 1e-10));
  Norm layer_2d = make({.kind = NormKind::layer_2d, .channels = 6});
  EXPECT_TRUE(torch::allclose(layer_2d->forward(x), affine(plain(x, {1}, 1e-5), layer_2d), 1e-9, 1e-10));
  const auto rms = [](const torch::Tensor& h, std::vector<int64_t> over) {
    return h / (h.square().mean(over, true) + 1e-5).sqrt();
  };
  Norm rms_all = make({.kind = NormKind::rms, .channels = 6});
  EXPECT_TRUE(torch::allclose(rms_all->forward(x), rms(x, {1, 2, 3}) * rms_all->weight.view({1, -1, 1, 1}), 1e-9, 1e-10));
  EXPECT_FALSE(rms_all->bias.defined());
  Norm rms_2d = make({.kind = NormKind::rms_2d, .channels = 6});
  EXPECT_TRUE(torch::allclose(rms_2d->forward(x), rms(x, {1}) * rms_2d->weight.view({1, -1, 1, 1}), 1e-9, 1e-10));
  Norm none = make({.kind = NormKind::none, .channels = 6});
  EXPECT_TRUE(torch::equal(none->forward(x), x));
  EXPECT_TRUE(none->parameters().empty());
}

TEST(Norm, OverTokensEachTokenIsASample) {
  const torch::Tensor x = draw({2, 7, 6});
  Norm layer = make({.kind = NormKind::layer, .channels = 6, .channel_dim = -1});
  EXPECT_TRUE(torch::allclose(layer->forward(x), plain(x, {2}, 1e-5) * layer->weight + layer->bias, 1e-9, 1e-10));
  Norm batch = make({.kind = NormKind::batch, .channels = 6, .channel_dim = -1});
  EXPECT_TRUE(torch::allclose(batch->forward(x), plain(x, {0, 1}, 1e-5) * batch->weight + batch->bias, 1e-9, 1e-10));
  Norm group = make({.kind = NormKind::group, .channels = 6, .groups = 2, .channel_dim = -1});
  EXPECT_TRUE(torch::allclose(group->forward(x),
                              plain(x.view({2, 7, 2, 3}), {3}, 1e-5).view(x.sizes()) * group->weight + group->bias, 1e-9,
                              1e-10));
  Norm instance = make({.kind = NormKind::instance, .channels = 6, .channel_dim = -1});
  EXPECT_TRUE(torch::allclose(instance->forward(x), plain(x, {1}, 1e-5) * instance->weight + instance->bias, 1e-9, 1e-10));
}

TEST(Norm, EvalOfBatchUsesRunningStatisticsAndMovesNothing) {
  Norm norm = make({.kind = NormKind::batch, .channels = 3});
  for (int i = 0; i < 3; ++i) norm->forward(draw({4, 3, 2, 2}) + i);
  norm->eval();
  const torch::Tensor mean = norm->running_mean.clone(), var = norm->running_var.clone();
  const torch::Tensor x = draw({1, 3, 1, 1});
  const auto v = [](const torch::Tensor& t) { return t.view({1, -1, 1, 1}); };
  EXPECT_TRUE(torch::allclose(norm->forward(x), (x - v(mean)) / (v(var) + 1e-5).sqrt() * v(norm->weight) + v(norm->bias)));
  EXPECT_TRUE(torch::equal(norm->running_mean, mean));
  EXPECT_TRUE(torch::equal(norm->running_var, var));
}

TEST(Norm, LayoutAndInputStayAndGradientsDoNotDependOnLayout) {
  for (const NormRow& row : kNorms) {
    for (Act act : {Act::none, Act::relu, Act::gelu}) {
      torch::Tensor x = draw({4, 4, 5, 7}).requires_grad_();
      torch::Tensor z = draw({4, 4, 5, 7}).contiguous(torch::MemoryFormat::ChannelsLast).requires_grad_();
      const torch::Tensor residual = draw({4, 4, 5, 7}) * -0.5;
      Norm a = make({.kind = row.kind, .channels = 4, .groups = 2, .act = act});
      Norm b = make({.kind = row.kind, .channels = 4, .groups = 2, .act = act});
      const torch::Tensor before = x.detach().clone();
      const torch::Tensor ya = a->forward_add(a->forward(x), residual);
      const torch::Tensor yb = b->forward_add(b->forward(z), residual.contiguous(torch::MemoryFormat::ChannelsLast));
      EXPECT_TRUE(yb.is_contiguous(torch::MemoryFormat::ChannelsLast)) << row.name;
      EXPECT_TRUE(torch::allclose(ya, yb, 1e-9, 1e-10));
      ya.square().sum().backward();
      yb.square().sum().backward();
      EXPECT_TRUE(torch::allclose(x.grad(), z.grad(), 1e-7, 1e-8)) << row.name;
      EXPECT_TRUE(torch::equal(x.detach(), before)) << row.name;
    }
  }
}

TEST(Norm, ForwardAddScalesTheNormAndLeavesTheResidual) {
  for (const NormRow& row : kNorms) {
    for (Act act : {Act::none, Act::relu, Act::silu}) {
      torch::Tensor x = draw({4, 4, 5, 7}).requires_grad_(), z = draw({4, 4, 5, 7}).requires_grad_();
      const torch::Tensor residual = draw({4, 4, 5, 7}) * -0.5;
      Norm a = make({.kind = row.kind, .channels = 4, .groups = 2, .act = act});
      Norm b = make({.kind = row.kind, .channels = 4, .groups = 2, .act = act});
      const torch::Tensor ya = a->forward_add(x, residual, 1.7);
      const torch::Tensor yb = b->activate_sum(b->forward_branch(z) * 1.7 + residual, false);
      EXPECT_TRUE(torch::allclose(ya, yb, 1e-9, 1e-10)) << row.name;
      ya.square().sum().backward();
      yb.square().sum().backward();
      EXPECT_TRUE(torch::allclose(x.grad(), z.grad(), 1e-7, 1e-8)) << row.name;
      const auto pa = a->named_parameters(), pb = b->named_parameters();
      for (const auto& p : pa) {
        if (!p.value().grad().defined()) continue;
        EXPECT_TRUE(torch::allclose(p.value().grad(), pb[p.key()].grad(), 1e-7, 1e-8)) << row.name << ' ' << p.key();
      }
      const bool stays = torch::equal(a->activate_sum(ya.detach(), false), ya.detach());
      EXPECT_TRUE(stays || !a->activation_is_idempotent()) << row.name;
    }
  }
}

TEST(Norm, GradientsAreThoseOfDifferences) {
  for (const NormRow& row : kNorms) {
    for (Act act : {Act::none, Act::relu, Act::tanh, Act::silu}) {
      const auto f = [&](const torch::Tensor& x) {
        Norm norm = make({.kind = row.kind, .channels = 4, .groups = 2, .act = act});
        return (norm->forward_add(x, draw({2, 4, 2, 3}) * 0.3) * draw({2, 4, 2, 3})).sum();
      };
      torch::Tensor x = draw({2, 4, 2, 3}).requires_grad_();
      f(x).backward();
      for (int64_t i = 0; i < x.numel(); i += 5) {
        torch::NoGradGuard no_grad;
        torch::Tensor up = x.detach().clone(), down = up.clone();
        up.view(-1)[i] += 1e-6;
        down.view(-1)[i] -= 1e-6;
        EXPECT_NEAR(x.grad().view(-1)[i].item<double>(), (f(up) - f(down)).item<double>() / 2e-6, 1e-5)
            << row.name << ' ' << act_name(act);
      }
    }
  }
}

TEST(Norm, WithoutANormItsInputIsOverwrittenOnlyWhenAllowed) {
  const torch::Tensor x = torch::tensor({{-1.0, 2.0}});
  Norm careful(NormOptions{.kind = NormKind::none, .channels = 2, .act = Act::relu});
  EXPECT_FALSE(careful->forward(x).is_same(x));
  EXPECT_EQ(x[0][0].item<float>(), -1);
  Norm owner(NormOptions{.kind = NormKind::none, .channels = 2, .act = Act::relu, .overwrite_input = true});
  EXPECT_TRUE(owner->forward(x).is_same(x));
  EXPECT_EQ(x[0][0].item<float>(), 0);
  torch::Tensor leaf = torch::tensor({{-1.0, 2.0}}).requires_grad_();
  owner->forward(leaf).sum().backward();
  EXPECT_EQ(leaf.grad()[0][0].item<float>(), 0);
}

TEST(Norm, GroupsDefaultToTheLargestDivisorUpTo32) {
  const auto groups = [](int64_t channels) {
    return Norm(NormOptions{.kind = NormKind::group, .channels = channels})->options.groups;
  };
  EXPECT_EQ(groups(64), 32);
  EXPECT_EQ(groups(48), 24);
  EXPECT_EQ(groups(17), 17);
  EXPECT_EQ(groups(37), 1);
}

TEST(Norm, ErrorsNameWhatIsRequired) {
  EXPECT_EQ(message_of([] { Norm(NormOptions{.kind = NormKind::group, .channels = 48, .groups = 32}); }),
            "[group_norm] num_groups must divide channels, got 32 and 48");
  EXPECT_EQ(message_of([] { Norm(NormOptions{.channels = 4, .eps = 0}); }), "[norm] eps must be > 0, got 0");
  EXPECT_EQ(message_of([] { Norm(NormOptions{.channels = 4, .momentum = 1.5}); }),
            "[batch_norm] momentum must be in [0, 1], got 1.5");
  Norm batch(NormOptions{.channels = 64});
  EXPECT_EQ(message_of([&] { batch->forward(torch::zeros({1, 64, 1, 1})); }),
            "[batch_norm] x must have more than 1 value per channel in training, got (1, 64, 1, 1)");
  EXPECT_EQ(message_of([&] { batch->forward(torch::zeros({8, 32, 4, 4})); }),
            "[norm] x must have 64 channels, got (8, 32, 4, 4)");
  Norm group(NormOptions{.kind = NormKind::group, .channels = 32, .groups = 32});
  EXPECT_EQ(message_of([&] { group->forward(torch::zeros({4, 32, 1, 1})); }),
            "[group_norm] each group must hold more than 1 value, got (4, 32, 1, 1) with 32 groups");
  Norm instance(NormOptions{.kind = NormKind::instance, .channels = 3});
  EXPECT_EQ(message_of([&] { instance->forward(torch::zeros({2, 3, 1, 1})); }),
            "[instance_norm] x must have more than 1 position in training, got (2, 3, 1, 1)");
}

TEST(Norm, NamesAreParsedWithTheNearestSuggested) {
  EXPECT_EQ(parse_norm("group:8").groups, 8);
  EXPECT_EQ(parse_norm("batch").kind, NormKind::batch);
  EXPECT_THAT(message_of([] { parse_norm("gruop:8"); }), testing::EndsWith("got \"gruop:8\"; did you mean \"group\"?"));
  EXPECT_THAT(message_of([] { parse_norm("group:0"); }), testing::HasSubstr("from 1 to 65536, got \"group:0\""));
  EXPECT_EQ(message_of([] { parse_norm("layer:2"); }), "[norm] layer takes no size, got \"layer:2\"");
  EXPECT_EQ(parse_norm("evo_s0:4").groups, 4);
  EXPECT_EQ(parse_norm("split").splits, 2);
  EXPECT_EQ(parse_norm("split:3").splits, 3);
  EXPECT_EQ(parse_norm("split:3").groups, 0);
  EXPECT_EQ(parse_norm("spectral").weight, WeightForm::spectral_norm);
  EXPECT_EQ(parse_norm("spectral").kind, NormKind::none);
  EXPECT_THAT(message_of([] { parse_norm("split:1"); }), testing::HasSubstr("parts must be a whole number from 2 to 65536"));
  EXPECT_EQ(message_of([] { parse_norm("weight:2"); }), "[norm] weight takes no size, got \"weight:2\"");
}

TEST(Norm, TheHolderDelegatesToTheStemsWithAnActivationOfTheirOwn) {
  const torch::Tensor x = draw({4, 4, 5, 3}), residual = draw({4, 4, 5, 3}) * -0.5;
  Norm frn = make({.kind = NormKind::frn, .channels = 4, .act = Act::silu});
  ASSERT_TRUE(frn->tau.defined());
  {
    torch::NoGradGuard no_grad;
    frn->tau.fill_(0.2);
  }
  const torch::Tensor plain_frn = filter_response_norm(x, frn->weight, frn->bias, {}, {}, 1e-5);
  EXPECT_TRUE(torch::equal(frn->forward(x), filter_response_norm(x, frn->weight, frn->bias, frn->tau, {}, 1e-5)));
  EXPECT_TRUE(torch::allclose(frn->forward_add(x, residual), (plain_frn + residual).clamp_min(0.2)));
  Norm straight = make({.kind = NormKind::frn, .channels = 4});
  EXPECT_FALSE(straight->tau.defined());
  EXPECT_TRUE(torch::equal(straight->forward(x), plain_frn));
  Norm s0 = make({.kind = NormKind::evo_s0, .channels = 4, .groups = 2, .act = Act::relu});
  EXPECT_TRUE(torch::equal(s0->forward(x), evo_norm_s0(x, s0->weight, s0->bias, s0->v, 2)));
  EXPECT_TRUE(torch::equal(s0->forward_add(x, residual), s0->forward(x) + residual));
  Norm b0 = make({.kind = NormKind::evo_b0, .channels = 4, .act = Act::relu});
  EXPECT_TRUE(torch::equal(b0->forward(x), evo_norm_b0(x, b0->weight, b0->bias, b0->v, {}, true).y));
  EXPECT_FALSE(torch::equal(b0->running_var, torch::ones({4}, torch::kDouble)));
}

TEST(Norm, SplitHasAPartsParametersUnderAuxBnAndClonesThem) {
  Norm norm = make({.kind = NormKind::split, .channels = 3, .splits = 2, .act = Act::relu});
  const torch::Tensor x = draw({4, 3, 2, 2});
  norm->forward(x);
  EXPECT_EQ(norm->named_parameters().size(), 4u);
  EXPECT_TRUE(norm->named_buffers().contains("aux_bn.0.running_mean"));
  EXPECT_TRUE(torch::allclose(norm->named_buffers()["aux_bn.0.running_mean"], x.narrow(0, 2, 2).mean({0, 2, 3}) * 0.1));
  const auto copy = std::dynamic_pointer_cast<NormImpl>(norm->clone());
  EXPECT_TRUE(torch::equal(copy->forward(x), norm->forward(x)));
  EXPECT_EQ(message_of([&] { norm->forward(draw({7, 3, 2, 2})); }),
            "[split_batch_norm] batch must be divisible by num_splits, got 7 and 2");
}

TEST(Norm, ACloneIsIndependent) {
  Norm norm = make({.kind = NormKind::batch, .channels = 3});
  norm->forward(draw({4, 3, 2, 2}));
  const auto copy = std::dynamic_pointer_cast<NormImpl>(norm->clone());
  EXPECT_TRUE(torch::equal(copy->running_var, norm->running_var));
  copy->forward(draw({4, 3, 2, 2}) * 5);
  EXPECT_FALSE(torch::equal(copy->running_var, norm->running_var));
  EXPECT_EQ(norm->num_batches_tracked.item<int64_t>(), 1);
}

}  // namespace
}  // namespace ballast
