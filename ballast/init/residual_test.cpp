#include <ballast/init/residual.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/linear.h>
#include <torch/serialize.h>

#include <cmath>
#include <sstream>

#include <ballast/base/test_message.h>
#include <ballast/init/fixup.h>
#include <ballast/init/kaiming.h>
#include <ballast/init/layer_scale.h>
#include <ballast/init/skip_init.h>

namespace ballast {
namespace {

// x + branch(x), two or three linear layers a branch.
struct ResidualNet : torch::nn::Module, HasBranches, HasRecipe {
  ResidualNet(int64_t blocks, int64_t layers, bool normed = false) : per_block(layers) {
    for (int64_t i = 0; i < blocks * layers; ++i) {
      weights.push_back(register_module("l" + std::to_string(i), torch::nn::Linear(16, 16)));
    }
    gate = register_module("gate", ScalarGate(ScalarGateOptions{.init = 1}));
    shift = register_module("shift", ScalarBias());
    if (normed) register_module("bn", torch::nn::BatchNorm1d(16));
    fc = register_module("fc", torch::nn::Linear(16, 3));
  }
  std::string recipe() const override { return "resnet"; }
  std::string head() const override { return "fc"; }
  std::vector<Branch> branches() const override {
    std::vector<Branch> result;
    for (size_t i = 0; i < weights.size(); ++i) {
      if (i % static_cast<size_t>(per_block) == 0) result.push_back({"block", {}, {}});
      result.back().weights.push_back(weights[i]->weight);
    }
    return result;
  }
  int64_t per_block;
  std::vector<torch::nn::Linear> weights;
  ScalarGate gate{nullptr};
  ScalarBias shift{nullptr};
  torch::nn::Linear fc{nullptr};
};

TEST(Fixup, BranchesAreScaledByDepthAndEndInZero) {
  for (int64_t m : {2, 3}) {
    ResidualNet net(9, m);
    const Key run(3);
    torch::NoGradGuard no_grad;
    net.gate->alpha.fill_(7);
    net.shift->bias.fill_(7);
    const RecipeReport report = fixup_(net, run);
    const double scale = std::pow(9.0, m == 2 ? -0.5 : -0.25);
    const torch::Tensor expected = kaiming_normal_(torch::empty({16, 16}), {.mode = FanMode::out}, run.fold_in("init").fold_in("l0.weight"));
    EXPECT_TRUE(torch::allclose(net.weights[0]->weight, expected * scale, 1e-6));
    for (int64_t i = 0; i < 9 * m; ++i) {
      const torch::Tensor& w = net.weights[static_cast<size_t>(i)]->weight;
      EXPECT_EQ(w.count_nonzero().item<int64_t>() == 0, i % m == m - 1) << i;
    }
    EXPECT_EQ(net.fc->weight.count_nonzero().item<int64_t>(), 0);
    EXPECT_EQ(net.gate->alpha.item<float>(), 1);
    EXPECT_EQ(net.shift->bias.item<float>(), 0);
    int64_t zeros = 0;
    for (const RecipeRow& row : report) zeros += row.zero_on_purpose;
    EXPECT_EQ(zeros, 9 + 1);
    // What auto means for a residual model without norms.
    const torch::Tensor first = net.weights[0]->weight.clone();
    init_model(net, {.key = run});
    EXPECT_TRUE(torch::equal(net.weights[0]->weight, first));
  }
}

TEST(Fixup, Errors) {
  ResidualNet normed(2, 2, true);
  EXPECT_EQ(message_of([&] { fixup_(normed, Key()); }), "[fixup] model must have no norm layers, got bn");
  torch::nn::LinearImpl plain(2, 2);
  EXPECT_EQ(message_of([&] { fixup_(plain, Key()); }), "[fixup] model must have residual branches, got none");
}

TEST(SkipInit, OneNumberGatesABranch) {
  ScalarGate gate;
  const torch::Tensor x = torch::randn({3, 4, 5}).requires_grad_(true);
  EXPECT_EQ(gate->forward(x).abs().max().item<float>(), 0);  // the block is the identity
  gate->forward(x).sum().backward();
  EXPECT_NEAR(gate->alpha.grad().item<double>(), x.sum().item<double>(), 1e-4);
  {
    torch::NoGradGuard no_grad;
    gate->alpha.fill_(2);
  }
  gate->eval();
  EXPECT_TRUE(torch::equal(gate->forward(x), x * 2));
  const auto copy = std::dynamic_pointer_cast<ScalarGateImpl>(gate->clone());
  EXPECT_EQ(copy->alpha.item<float>(), 2);
  EXPECT_FALSE(copy->alpha.is_same(gate->alpha));
  std::stringstream file;
  torch::save(gate, file);
  ScalarGate loaded;
  torch::load(loaded, file);
  EXPECT_EQ(loaded->alpha.item<float>(), 2);
  EXPECT_EQ(message_of([] { ScalarGate(ScalarGateOptions{.init = std::nan("")}); }), "[skip_init] init must be finite, got nan");
}

TEST(LayerScale, OneNumberAChannel) {
  LayerScale scale(LayerScaleOptions{.dim = 3, .init = 0.5, .channel_dim = 1});
  {
    torch::NoGradGuard no_grad;
    scale->gamma.copy_(torch::tensor({1.0, 2.0, 3.0}));
  }
  const torch::Tensor x = torch::ones({2, 3, 4, 5});
  const torch::Tensor y = scale->forward(x);
  EXPECT_EQ(y.sizes(), x.sizes());
  EXPECT_TRUE(torch::equal(y.select(1, 2), torch::full({2, 4, 5}, 3.0)));
  LayerScale tokens(LayerScaleOptions{.dim = 4});
  EXPECT_TRUE(torch::equal(tokens->forward(torch::ones({2, 7, 4})), torch::full({2, 7, 4}, 1e-5)));
  const torch::Tensor image = torch::ones({1, 3, 8, 8}).contiguous(torch::MemoryFormat::ChannelsLast);
  EXPECT_TRUE(scale->forward(image).is_contiguous(torch::MemoryFormat::ChannelsLast));
  LayerScale wide(LayerScaleOptions{.dim = 64, .channel_dim = 1});
  EXPECT_EQ(message_of([&] { wide->forward(torch::ones({8, 32, 4, 4})); }),
            "[layer_scale] x must have 64 channels, got (8, 32, 4, 4)");
  EXPECT_EQ(message_of([] { LayerScale(LayerScaleOptions{}); }), "[layer_scale] dim must be >= 1, got 0");
}

TEST(Recipes, GatesAndLayerScalesStartAsTheirOptionsSay) {
  struct Gated : torch::nn::Module, HasRecipe {
    Gated() {
      fc = register_module("fc", torch::nn::Linear(4, 4));
      gate = register_module("gate", ScalarGate());
      scale = register_module("scale", LayerScale(LayerScaleOptions{.dim = 4, .init = 0.25}));
    }
    std::string recipe() const override { return "vit"; }
    std::string head() const override { return "fc"; }
    torch::nn::Linear fc{nullptr};
    ScalarGate gate{nullptr};
    LayerScale scale{nullptr};
  } net;
  for (auto& p : net.parameters()) p.detach().fill_(9);
  const RecipeReport report = init_model(net, {});
  EXPECT_EQ(net.gate->alpha.item<float>(), 0);
  EXPECT_EQ(net.scale->gamma.max().item<float>(), 0.25);
  for (const RecipeRow& row : report) {
    EXPECT_EQ(row.zero_on_purpose, row.name == "gate.alpha" || row.name == "fc.weight") << row.name;
  }
}

}  // namespace
}  // namespace ballast
