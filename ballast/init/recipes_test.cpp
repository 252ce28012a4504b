#include <ballast/init/recipes.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/rnn.h>

#include <cmath>

#include <ballast/base/test_message.h>
#include <ballast/init/catalog.h>
#include <ballast/init/kaiming.h>
#include <ballast/init/normal.h>
#include <ballast/init/orthogonal.h>
#include <ballast/init/residual.h>
#include <ballast/init/uniform.h>
#include <ballast/init/xavier.h>

namespace ballast {
namespace {

// A small model of LibTorch's own layers, as a user has.
struct MixedNet : torch::nn::Module, HasRecipe, HasBranches {
  MixedNet() {
    conv = register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(4, 64, 3).groups(2)));
    bn = register_module("bn", torch::nn::BatchNorm2d(64));
    fc = register_module("fc", torch::nn::Linear(64, 10));
    lstm = register_module("lstm", torch::nn::LSTM(32, 16));
  }
  std::string recipe() const override { return "resnet"; }
  std::string head() const override { return "fc"; }
  std::vector<Branch> branches() const override { return {{"conv", {conv->weight}, bn->weight}}; }
  torch::nn::Conv2d conv{nullptr};
  torch::nn::BatchNorm2d bn{nullptr};
  torch::nn::Linear fc{nullptr};
  torch::nn::LSTM lstm{nullptr};
};

torch::Tensor value(torch::nn::Module& model, const std::string& name) {
  return model.named_parameters()[name].detach();
}

TEST(Recipes, EachParameterIsDrawnByItsNameAndRule) {
  MixedNet net;
  const Key run(5);
  const RecipeReport report = init_model(net, {.recipe = "he", .key = run});
  EXPECT_EQ(report.size(), net.named_parameters().size());
  const Key key = run.fold_in("init").fold_in("conv.weight");
  EXPECT_TRUE(torch::equal(value(net, "conv.weight"),
                           kaiming_normal_(torch::empty({64, 2, 3, 3}), {.fan = {.groups = 2}}, key)));
  EXPECT_EQ(value(net, "conv.bias").abs().max().item<float>(), 0);
  EXPECT_EQ(value(net, "bn.weight").min().item<float>(), 1);
  for (const RecipeRow& row : report) EXPECT_FALSE(row.rule.empty()) << row.name;
}

TEST(Recipes, AutoIsTheModelsOwnWithZeroGamma) {
  MixedNet net;
  const RecipeReport report = init_model(net, {});
  EXPECT_EQ(value(net, "bn.weight").abs().max().item<float>(), 0);
  EXPECT_LE(value(net, "fc.weight").abs().max().item<double>(), 1 / std::sqrt(64.0));
  EXPECT_GT(value(net, "fc.weight").abs().max().item<double>(), 0.9 / std::sqrt(64.0));
  for (const RecipeRow& row : report) {
    EXPECT_EQ(row.zero_on_purpose, row.name == "bn.weight") << row.name;
  }
}

TEST(Recipes, RecurrentGatesAreDrawnOneByOne) {
  MixedNet net;
  init_model(net, {.recipe = "rnn"});
  const auto gates = value(net, "lstm.weight_hh_l0").to(torch::kDouble).chunk(4, 0);
  for (const torch::Tensor& gate : gates) {
    EXPECT_LE((gate.mm(gate.t()) - torch::eye(16, torch::kDouble)).abs().max().item<double>(), 1e-6);
  }
  EXPECT_FALSE(torch::equal(gates[0], gates[1]));
  const torch::Tensor bias = value(net, "lstm.bias_ih_l0");
  EXPECT_EQ(bias.sum().item<float>(), 16);
  EXPECT_EQ(bias.slice(0, 16, 32).min().item<float>(), 1);
  EXPECT_EQ(value(net, "lstm.bias_hh_l0").abs().max().item<float>(), 0);
}

TEST(Recipes, PlainFillsAndTorchsStart) {
  MixedNet net;
  init_model(net, {.recipe = "constant:0.25"});
  EXPECT_EQ(value(net, "conv.weight").min().item<float>(), 0.25);
  EXPECT_EQ(value(net, "lstm.weight_ih_l0").max().item<float>(), 0.25);
  init_model(net, {.recipe = "zeros"});
  EXPECT_EQ(value(net, "conv.weight").abs().max().item<float>(), 0);
  init_model(net, {.recipe = "normal:0.5"});
  EXPECT_NEAR(value(net, "conv.weight").std().item<double>(), 0.5, 5 * 0.5 / std::sqrt(2.0 * 1152));
  init_model(net, {.recipe = "torch"});
  const double bound = 1 / std::sqrt(18.0);
  EXPECT_LE(value(net, "conv.weight").abs().max().item<double>(), bound);
  EXPECT_GT(value(net, "conv.bias").abs().max().item<double>(), 0.8 * bound);
  EXPECT_GT(value(net, "lstm.bias_hh_l0").abs().max().item<double>(), 0.8 / 4);
}

TEST(Recipes, EveryRowOfTheCatalogDrawsEveryParameter) {
  for (const InitRow& row : kInits) {
    MixedNet net;
    for (auto& p : net.parameters()) p.detach().fill_(std::nan(""));
    if (row.name == "fixup") {
      EXPECT_EQ(message_of([&] { init_model(net, {.recipe = "fixup"}); }), "[fixup] model must have no norm layers, got bn");
      continue;
    }
    init_model(net, {.recipe = std::string(row.name) + (row.number ? ":0.1" : "")});
    for (const auto& p : net.named_parameters()) {
      EXPECT_TRUE(torch::isfinite(p.value()).all().item<bool>()) << row.name << ' ' << p.key();
    }
  }
}

// What each row means, restated: the rule of each of the net's layers, and what it is drawn by.
TEST(Recipes, RowsAreWhatTheirTableSays) {
  const Key run(6);
  const auto drawn = [&](const char* name) { return run.fold_in("init").fold_in(name); };
  const auto row = [&](const char* recipe, Act act = Act::relu) {
    auto net = std::make_shared<MixedNet>();
    init_model(*net, {.recipe = recipe, .act = act, .key = run});
    return net;
  };
  const torch::Tensor conv = torch::empty({64, 2, 3, 3}), fc = torch::empty({10, 64});
  const FanOptions grouped{.groups = 2};
  // The same draws; the scale may differ by the rounding of its formula.
  const auto is = [](const torch::Tensor& a, const torch::Tensor& b) { return torch::allclose(a.detach(), b, 1e-6, 0); };
  auto net = row("xavier", Act::tanh);
  EXPECT_TRUE(is(net->conv->weight, xavier_normal_(conv, 5.0 / 3, grouped, drawn("conv.weight"))));
  EXPECT_TRUE(is(net->fc->weight, xavier_normal_(fc, 1, {}, drawn("fc.weight"))));
  net = row("plain_cnn", Act::tanh);
  EXPECT_TRUE(is(net->conv->weight, xavier_normal_(conv, gain(Act::tanh, 0, GainRule::second_moment), grouped, drawn("conv.weight"))));
  net = row("mlp", Act::gelu);
  EXPECT_TRUE(is(net->conv->weight, kaiming_normal_(conv, {.act = Act::gelu, .rule = GainRule::second_moment, .fan = grouped}, drawn("conv.weight"))));
  net = row("efficientnet");
  EXPECT_TRUE(is(net->conv->weight, normal_(conv, 0, std::sqrt(2.0 / (32 * 9)), drawn("conv.weight"))));
  EXPECT_TRUE(is(net->fc->weight, uniform_(fc, -1 / std::sqrt(10.0), 1 / std::sqrt(10.0), drawn("fc.weight"))));
  net = row("wide_resnet");
  EXPECT_EQ(value(*net, "bn.weight").min().item<float>(), 1);
  EXPECT_TRUE(is(net->conv->weight, kaiming_normal_(conv, {.mode = FanMode::out, .fan = grouped}, drawn("conv.weight"))));
  EXPECT_TRUE(is(net->fc->weight, uniform_(fc, -0.125, 0.125, drawn("fc.weight"))));
  net = row("lsuv");  // auto (resnet here) with head 0; the data come later
  EXPECT_EQ(net->fc->weight.count_nonzero().item<int64_t>(), 0);
  EXPECT_TRUE(is(net->conv->weight, conv.copy_(row("resnet")->conv->weight.detach())));
  net = row("orthogonal");
  EXPECT_TRUE(is(net->conv->weight, orthogonal_(conv, std::sqrt(2.0), 2, drawn("conv.weight"))));
  net = row("delta_orthogonal");  // grouped: orthogonal
  EXPECT_TRUE(is(net->conv->weight, orthogonal_(conv, std::sqrt(2.0), 2, drawn("conv.weight"))));
}

TEST(Recipes, DeltaOrthogonalWhereItFitsAndOrthogonalElsewhere) {
  struct Convs : torch::nn::Module {
    Convs() {
      wider = register_module("wider", torch::nn::Conv2d(3, 8, 3));
      narrower = register_module("narrower", torch::nn::Conv2d(8, 3, 3));
    }
    torch::nn::Conv2d wider{nullptr}, narrower{nullptr};
  } net;
  const RecipeReport report = init_model(net, {.recipe = "delta_orthogonal"});
  EXPECT_EQ(net.wider->weight.count_nonzero().item<int64_t>(), 24);
  EXPECT_EQ(net.narrower->weight.count_nonzero().item<int64_t>(), 216);
  EXPECT_EQ(report[0].rule, "delta_orthogonal relu");
  EXPECT_EQ(report[2].rule, "orthogonal relu");
}

TEST(Recipes, TransposedConvolutionsCountTheirOwnFans) {
  struct Up : torch::nn::Module {
    Up() { up = register_module("up", torch::nn::ConvTranspose2d(torch::nn::ConvTranspose2dOptions(64, 16, 4).groups(2))); }
    torch::nn::ConvTranspose2d up{nullptr};
  } net;
  init_model(net, {.recipe = "he", .key = Key(1)});
  const torch::Tensor expected =
      normal_(torch::empty({64, 8, 4, 4}), 0, std::sqrt(2.0 / (32 * 16)), Key(1).fold_in("init").fold_in("up.weight"));
  EXPECT_TRUE(torch::allclose(net.up->weight.detach(), expected, 1e-6, 0));
}

TEST(Recipes, ErrorsNameRecipeAndParameter) {
  MixedNet net;
  EXPECT_THAT(message_of([&] { init_model(net, {.recipe = "othogonal"}); }),
              testing::EndsWith("got \"othogonal\"; did you mean \"orthogonal\"?"));
  EXPECT_EQ(message_of([&] { init_model(net, {.recipe = "constant"}); }),
            "[init] constant must be given a number, as constant:0.01");
  EXPECT_EQ(message_of([&] { init_model(net, {.recipe = "normal:-1"}); }), "[normal] std must be >= 0, got -1");
  EXPECT_EQ(message_of([&] { init_model(net, {.recipe = "he:2"}); }), "[init] he takes no number, got he:2");
  net.register_parameter("foo", torch::ones({3}));
  EXPECT_EQ(message_of([&] { init_model(net, {.recipe = "vit"}); }),
            "[recipes] vit must cover every parameter, got foo");
  torch::nn::LinearImpl plain(2, 2);
  EXPECT_EQ(message_of([&] { init_model(plain, {}); }), "[recipes] auto needs a model that names its recipe");
}

TEST(Recipes, ZeroGammaNeedsNormsWithAWeight) {
  struct Bare : HasBranches {
    std::vector<Branch> branches() const override { return {{"layer2.0", {}, {}}}; }
  };
  EXPECT_EQ(message_of([] { zero_gamma_(Bare()); }),
            "[zero_gamma] every branch must end in a norm with a weight, got layer2.0");
}

}  // namespace
}  // namespace ballast
