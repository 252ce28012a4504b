#include <ballast/train/optimizer.h>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/optim.h>

namespace ballast {
namespace {

std::vector<NamedParameter> parameters(bool channels_last = false) {
  torch::manual_seed(1);
  std::vector<NamedParameter> all{{"conv.weight", torch::randn({24, 16, 5, 5})},
                                  {"conv.bias", torch::randn({24})},
                                  {"fc.weight", torch::randn({300, 131})}};
  for (NamedParameter& p : all) {
    if (channels_last && p.value.dim() == 4) {
      p.value = p.value.contiguous(torch::MemoryFormat::ChannelsLast);
    }
    p.value.requires_grad_(true);
  }
  return all;
}

void set_gradients(const std::vector<NamedParameter>& all, int64_t step) {
  for (size_t i = 0; i < all.size(); ++i) {
    torch::manual_seed(100 * step + static_cast<int64_t>(i));
    torch::Tensor g = torch::randn(all[i].value.sizes());
    all[i].value.mutable_grad() = torch::empty_like(all[i].value.detach()).copy_(g);
  }
}

void expect_as_torch(const OptimizerOptions& options, bool channels_last) {
  std::vector<NamedParameter> ours = parameters(channels_last);
  std::vector<NamedParameter> theirs = parameters();
  Optimizer optimizer(ours, options);
  std::vector<torch::optim::OptimizerParamGroup> groups;
  const std::vector<torch::Tensor> decay{theirs[0].value, theirs[2].value};
  const std::vector<torch::Tensor> plain{theirs[1].value};
  std::unique_ptr<torch::optim::Optimizer> reference;
  if (options.name == "sgd") {
    auto o = torch::optim::SGDOptions(0.1).momentum(options.momentum).nesterov(options.nesterov);
    groups.emplace_back(decay, std::make_unique<torch::optim::SGDOptions>(torch::optim::SGDOptions(o).weight_decay(options.weight_decay)));
    groups.emplace_back(plain, std::make_unique<torch::optim::SGDOptions>(o));
    reference = std::make_unique<torch::optim::SGD>(groups, o);
  } else if (options.name == "adam") {
    auto o = torch::optim::AdamOptions(0.1);
    groups.emplace_back(decay, std::make_unique<torch::optim::AdamOptions>(torch::optim::AdamOptions(o).weight_decay(options.weight_decay)));
    groups.emplace_back(plain, std::make_unique<torch::optim::AdamOptions>(o));
    reference = std::make_unique<torch::optim::Adam>(groups, o);
  } else {
    auto o = torch::optim::AdamWOptions(0.1).weight_decay(0);
    groups.emplace_back(decay, std::make_unique<torch::optim::AdamWOptions>(torch::optim::AdamWOptions(o).weight_decay(options.weight_decay)));
    groups.emplace_back(plain, std::make_unique<torch::optim::AdamWOptions>(o));
    reference = std::make_unique<torch::optim::AdamW>(groups, o);
  }
  for (int64_t step = 0; step < 100; ++step) {
    const double lr = 0.01 + 0.0001 * static_cast<double>(step);
    for (auto& group : reference->param_groups()) {
      group.options().set_lr(lr);
    }
    set_gradients(ours, step);
    set_gradients(theirs, step);
    optimizer.step(lr);
    reference->step();
  }
  for (size_t i = 0; i < ours.size(); ++i) {
    const double error = (ours[i].value - theirs[i].value).abs().max().item<double>();
    const double scale = theirs[i].value.abs().max().item<double>();
    EXPECT_LE(error, 1e-6 * std::max(scale, 1.0)) << options.name << ' ' << ours[i].name;
  }
}

TEST(Optimizer, AHundredStepsOfSgdAgreeWithTorch) {
  expect_as_torch({.name = "sgd", .weight_decay = 5e-3, .momentum = 0.9, .nesterov = true}, false);
  expect_as_torch({.name = "sgd", .weight_decay = 5e-3, .momentum = 0.9, .nesterov = false}, true);
  expect_as_torch({.name = "sgd", .weight_decay = 0, .momentum = 0, .nesterov = false}, false);
}

TEST(Optimizer, AHundredStepsOfAdamAgreeWithTorch) {
  expect_as_torch({.name = "adam", .weight_decay = 1e-3}, false);
  expect_as_torch({.name = "adam", .weight_decay = 0}, true);
}

TEST(Optimizer, AHundredStepsOfAdamwAgreeWithTorch) {
  expect_as_torch({.name = "adamw", .weight_decay = 0.05}, false);
}

TEST(Optimizer, BitsDoNotDependOnTheNumberOfThreads) {
  const int threads = at::get_num_threads();
  for (const char* name : {"sgd", "adamw"}) {
    std::vector<torch::Tensor> first;
    double norm = 0;
    for (const int t : {1, 2, 4}) {
      at::set_num_threads(t);
      std::vector<NamedParameter> all = parameters();
      Optimizer optimizer(all, {.name = name});
      for (int64_t step = 0; step < 5; ++step) {
        set_gradients(all, step);
        const double n = optimizer.gradient_norm();
        if (t == 1) {
          norm = n;
        }
        if (step == 4 && t > 1) {
          EXPECT_EQ(n, norm);
        }
        optimizer.step(0.1, 0.5);
      }
      for (size_t i = 0; i < all.size(); ++i) {
        if (t == 1) {
          first.push_back(all[i].value.detach().clone());
        } else {
          EXPECT_TRUE(torch::equal(first[i], all[i].value)) << name << ' ' << t;
        }
      }
    }
  }
  at::set_num_threads(threads);
}

TEST(Optimizer, GradientNormIsThatOfAllGradientsTogether) {
  std::vector<NamedParameter> all = parameters();
  Optimizer optimizer(all, {});
  set_gradients(all, 3);
  double sum = 0;
  for (const NamedParameter& p : all) {
    sum += p.value.grad().to(torch::kDouble).square().sum().item<double>();
  }
  EXPECT_NEAR(optimizer.gradient_norm(), std::sqrt(sum), 1e-9 * std::sqrt(sum));
  all[1].value.mutable_grad()[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(std::isfinite(optimizer.gradient_norm()));
}

TEST(Optimizer, BiasesAndNormsDoNotDecay) {
  std::vector<NamedParameter> all = parameters();
  all.push_back({"pos_embed", torch::randn({1, 4, 8}).requires_grad_(true)});
  all.push_back({"frozen", torch::randn({4, 4})});
  const Optimizer optimizer(all, {.weight_decay = 0.5, .no_decay = {"pos_embed"}});
  ASSERT_EQ(optimizer.groups().size(), 2U);
  EXPECT_EQ(optimizer.groups()[0].parameters, (std::vector<std::string>{"conv.weight", "fc.weight"}));
  EXPECT_EQ(optimizer.groups()[0].weight_decay, 0.5);
  EXPECT_EQ(optimizer.groups()[1].parameters, (std::vector<std::string>{"conv.bias", "pos_embed"}));
  EXPECT_EQ(optimizer.groups()[1].weight_decay, 0);
}

// Each group against an optimizer of its own with that rate and decay.
TEST(Optimizer, AGroupHasItsOwnRateAndDecay) {
  for (const char* name : {"sgd", "adam", "adamw"}) {
    std::vector<NamedParameter> all = parameters();
    ParamGroup slow, fast;
    slow.name = "slow";
    slow.lr_scale = 0.25;
    slow.weight_decay = 0.1;
    slow.parameters = {"conv.weight", "conv.bias"};
    fast.name = "fast";
    fast.parameters = {"fc.weight"};
    Optimizer grouped(all, {.name = name, .groups = {slow, fast}});
    EXPECT_EQ(grouped.groups().size(), 2U);
    std::vector<NamedParameter> alone = parameters();
    ParamGroup conv = slow, fc = fast;
    conv.lr_scale = 1;
    Optimizer first({alone[0], alone[1]}, {.name = name, .groups = {conv}});
    Optimizer second({alone[2]}, {.name = name, .groups = {fc}});
    for (int64_t step = 0; step < 5; ++step) {
      set_gradients(all, step);
      set_gradients(alone, step);
      grouped.step(0.02);
      first.step(0.005);
      second.step(0.02);
    }
    for (size_t i = 0; i < all.size(); ++i) {
      EXPECT_TRUE(torch::allclose(all[i].value, alone[i].value, 1e-6, 1e-8)) << name << ' ' << all[i].name;
      EXPECT_FALSE(torch::equal(all[i].value, parameters()[i].value)) << name;
    }
  }
}

TEST(Optimizer, GroupsNameEachParameterOnceAndOnlyThoseThatTrain) {
  const auto refused = [](std::vector<std::string> names, const char* message) {
    std::vector<NamedParameter> all = parameters();
    all.push_back({"frozen", torch::randn({4, 4})});
    ParamGroup group;
    group.parameters = std::move(names);
    try {
      Optimizer(all, {.groups = {group}});
      ADD_FAILURE() << message;
    } catch (const std::invalid_argument& e) {
      EXPECT_STREQ(e.what(), message);
    }
  };
  refused({"conv.bias", "conv.bias"}, "[optimizer] a parameter must be in one group, got conv.bias in two");
  refused({"frozen"}, "[optimizer] a group must name parameters that require a gradient, got frozen");
  refused({"none"}, "[optimizer] a group must name parameters that require a gradient, got none");
  std::vector<NamedParameter> all = parameters();
  ParamGroup one;
  one.parameters = {"fc.weight"};
  Optimizer optimizer(all, {.groups = {one}});
  set_gradients(all, 0);
  optimizer.step(0.1);
  EXPECT_TRUE(torch::equal(all[0].value, parameters()[0].value));
  EXPECT_FALSE(torch::equal(all[2].value, parameters()[2].value));
}

TEST(Optimizer, DoubleParametersTakeTheComposedPath) {
  for (const char* name : {"sgd", "adam", "adamw"}) {
    torch::manual_seed(2);
    torch::Tensor a = torch::randn({30, 7});
    torch::Tensor b = a.to(torch::kDouble);
    a.requires_grad_(true);
    b.requires_grad_(true);
    Optimizer fast({{"w", a}}, {.name = name, .weight_decay = 0.01});
    Optimizer composed({{"w", b}}, {.name = name, .weight_decay = 0.01});
    for (int step = 0; step < 20; ++step) {
      torch::Tensor g = torch::randn({30, 7});
      a.mutable_grad() = g;
      b.mutable_grad() = g.to(torch::kDouble);
      fast.step(0.05, 0.7, 0.85);
      composed.step(0.05, 0.7, 0.85);
    }
    EXPECT_LE((a.to(torch::kDouble) - b).abs().max().item<double>(), 1e-5) << name;
  }
}

TEST(Optimizer, StateIsNamedByParameter) {
  std::vector<NamedParameter> all = parameters();
  Optimizer optimizer(all, {.name = "adamw"});
  const std::vector<NamedParameter> state = optimizer.state();
  ASSERT_EQ(state.size(), 6U);
  EXPECT_EQ(state[0].name, "exp_avg.conv.weight");
  EXPECT_EQ(state[1].name, "exp_avg_sq.conv.weight");
}

TEST(Optimizer, ErrorsNameTheValue) {
  auto message = [](const OptimizerOptions& o) -> std::string {
    try {
      Optimizer optimizer(parameters(), o);
      return "";
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
  };
  EXPECT_EQ(message({.name = "lamb"}), "[optimizer] name must be sgd, adam or adamw, got lamb");
  EXPECT_EQ(message({.weight_decay = -1}), "[optimizer] weight_decay must be >= 0, got -1");
  EXPECT_EQ(message({.momentum = 1}), "[optimizer] momentum must be in [0, 1), got 1");
  EXPECT_EQ(message({.eps = 0}), "[optimizer] eps must be > 0, got 0");
  EXPECT_EQ(message({.beta2 = 1.5}), "[optimizer] beta2 must be in [0, 1), got 1.5");
}

TEST(Optimizer, ClipsValuesAndKeepsNaN) {
  std::vector<NamedParameter> all = parameters(true);
  Optimizer optimizer(all, {});
  set_gradients(all, 1);
  optimizer.clip_values(0.25);
  for (const NamedParameter& p : all) {
    EXPECT_LE(p.value.grad().abs().max().item<float>(), 0.25F);
  }
}

}  // namespace
}  // namespace ballast
