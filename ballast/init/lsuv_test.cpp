#include <ballast/init/lsuv.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/rnn.h>

#include <cmath>

#include <ballast/base/test_message.h>
#include <ballast/init/kaiming.h>
#include <ballast/init/normal.h>
#include <ballast/init/orthogonal.h>
#include <ballast/init/residual.h>
#include <ballast/init/uniform.h>
#include <ballast/init/xavier.h>

namespace ballast {
namespace {

torch::Tensor pictures(int64_t n) {
  return normal_(torch::empty({n, 3, 16, 16}), 0, 1, Key(77));
}

void small_normal(torch::nn::Module& model, double bias) {
  uint64_t i = 0;
  for (auto& p : model.parameters()) {
    if (p.dim() > 1) {
      normal_(p.detach(), 0, 0.01, Key(++i));
    } else {
      p.detach().fill_(bias);
    }
  }
}

// What LSUV promises, measured by ourselves: mean over channels and positions of the variance over samples.
double across(const torch::Tensor& y) {
  return y.detach().to(torch::kDouble).var(0, /*unbiased=*/false).mean().item<double>();
}

// Six convolutions and two linear layers, registered in the opposite order of their use.
struct Cnn : torch::nn::Module {
  explicit Cnn(bool normed = false) {
    fc2 = register_module("fc2", torch::nn::Linear(20, 5));
    fc1 = register_module("fc1", torch::nn::Linear(16 * 16, 20));
    for (int i = 5; i >= 0; --i) {
      convs[i] = register_module("conv" + std::to_string(i), torch::nn::Conv2d(torch::nn::Conv2dOptions(i == 0 ? 3 : 16, 16, 3).padding(1).stride(i == 2 || i == 4 ? 2 : 1)));
      if (normed) bns[i] = register_module("bn" + std::to_string(i), torch::nn::BatchNorm2d(16));
    }
    drop = register_module("drop", torch::nn::Dropout(0.5));
  }
  torch::Tensor forward(torch::Tensor x) {
    ++forwards;
    samples += x.size(0);
    outputs.clear();
    for (int i = 0; i < 6; ++i) {
      x = convs[i]->forward(x);
      outputs.push_back(x.clone());
      if (!bns[i].is_empty()) x = bns[i]->forward(x);
      x = x.relu();
    }
    x = fc1->forward(drop->forward(x.flatten(1)));
    outputs.push_back(x.clone());
    return fc2->forward(x.relu());
  }
  std::array<torch::nn::Conv2d, 6> convs{nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
  std::array<torch::nn::BatchNorm2d, 6> bns{nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
  torch::nn::Linear fc1{nullptr}, fc2{nullptr};
  torch::nn::Dropout drop{nullptr};
  std::vector<torch::Tensor> outputs;
  int64_t forwards = 0, samples = 0;
};

std::vector<LsuvRow> run(Cnn& net, const torch::Tensor& x, const LsuvOptions& options = {}) {
  return lsuv(net, [&](torch::Tensor in) { return net.forward(std::move(in)); }, x, options);
}

TEST(Lsuv, OneRescalePerLayerInExecutionOrderMakesEveryVarianceOne) {
  for (bool orthogonal : {true, false}) {
    Cnn net;
    small_normal(net, 0.3);
    const torch::Tensor head = net.fc2->weight.detach().clone(), x = pictures(64);
    const std::vector<LsuvRow> rows = run(net, x, {.orthogonal_start = orthogonal});
    EXPECT_EQ(net.forwards, 3);
    EXPECT_EQ(net.samples, 2 + 2 * 64);  // the survey of 2, and two passes
    ASSERT_EQ(rows.size(), 8u);
    std::vector<std::string> names;
    for (const LsuvRow& row : rows) names.push_back(row.name);
    EXPECT_THAT(names, testing::ElementsAre("conv0", "conv1", "conv2", "conv3", "conv4", "conv5", "fc1", "fc2"));
    net.eval();
    net.forward(x);
    for (size_t i = 0; i < 7; ++i) {
      EXPECT_EQ(rows[i].why_skipped, "");
      EXPECT_NEAR(rows[i].after, 1, 1e-4) << rows[i].name;
      EXPECT_NEAR(across(net.outputs[i]), 1, 1e-4) << rows[i].name;
    }
    EXPECT_EQ(rows[7].why_skipped, "last layer");
    EXPECT_TRUE(torch::equal(net.fc2->weight.detach(), head));
    EXPECT_EQ(net.convs[1]->bias.detach().abs().max().item<float>(), orthogonal ? 0.0F : 0.3F);
    EXPECT_NEAR(rows[0].scale * std::sqrt(rows[0].before), 1, 1e-5);
    if (orthogonal) {
      const torch::Tensor w = net.convs[1]->weight.detach().view({16, -1}) / rows[1].scale;
      EXPECT_LE((w.mm(w.t()) - torch::eye(16)).abs().max().item<double>(), 1e-5);
    }
  }
}

TEST(Lsuv, FlagsBuffersAndRequiresGradComeBack) {
  Cnn net(true);
  net.train();
  net.bns[2]->eval();
  std::vector<torch::Tensor> buffers;
  for (const torch::Tensor& b : net.buffers()) buffers.push_back(b.clone());
  const std::vector<LsuvRow> rows = run(net, pictures(16));
  EXPECT_TRUE(net.is_training());
  EXPECT_TRUE(net.drop->is_training());
  EXPECT_FALSE(net.bns[2]->is_training());
  EXPECT_TRUE(net.bns[3]->is_training());
  for (size_t i = 0; i < buffers.size(); ++i) EXPECT_TRUE(torch::equal(buffers[i], net.buffers()[i]));
  for (const torch::Tensor& p : net.parameters()) EXPECT_TRUE(p.requires_grad() && !p.grad().defined());
  // Every convolution stands before a norm.
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(rows[i].why_skipped, "before a norm");
  EXPECT_EQ(rows[6].why_skipped, "");
  Cnn again(true);
  EXPECT_EQ(run(again, pictures(16), {.skip_normed = false})[3].why_skipped, "");
}

TEST(Lsuv, SkippedAndEmptyWeightsStay) {
  Cnn net;
  {
    torch::NoGradGuard no_grad;
    net.convs[3]->weight.zero_();
  }
  const torch::Tensor first = net.convs[0]->weight.detach().clone();
  // conv3 outputs its bias alone, so that everything behind it cannot vary: only what is before is rescaled.
  const std::vector<LsuvRow> rows = run(net, pictures(16), {.skip = {"conv0", "conv4", "conv5", "fc1"}});
  EXPECT_EQ(rows[0].why_skipped, "skip");
  EXPECT_TRUE(torch::equal(net.convs[0]->weight.detach(), first));
  EXPECT_EQ(rows[3].why_skipped, "all zero");
  EXPECT_EQ(net.convs[3]->weight.count_nonzero().item<int64_t>(), 0);
  EXPECT_NEAR(rows[1].after, 1, 1e-4);
  EXPECT_NEAR(rows[2].after, 1, 1e-4);
}

// One convolution used twice, then a matrix product with a bare parameter.
struct Shared : torch::nn::Module {
  Shared() {
    conv = register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 3, 3).padding(1)));
    matrix = register_parameter("matrix", torch::randn({768, 12}));
    fc = register_module("fc", torch::nn::Linear(12, 2));
  }
  torch::Tensor forward(const torch::Tensor& x) {
    return fc->forward(at::matmul(conv->forward(conv->forward(x).relu()).flatten(1), matrix));
  }
  torch::nn::Conv2d conv{nullptr};
  torch::Tensor matrix;
  torch::nn::Linear fc{nullptr};
};

TEST(Lsuv, ASharedLayerIsRescaledOnceAtItsFirstUse) {
  torch::manual_seed(1);
  Shared net;
  const std::vector<LsuvRow> rows = lsuv(net, [&](torch::Tensor x) { return net.forward(x); }, pictures(32), {.include_head = true});
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0].name, "conv");
  EXPECT_EQ(rows[1].why_skipped, "tied");
  EXPECT_EQ(rows[2].name, "matrix");
  EXPECT_THAT(rows[2].op, testing::EndsWith("matmul"));
  for (size_t i : {0, 2, 3}) EXPECT_NEAR(rows[i].after, 1, 1e-4) << i;
}

// x + branch(x), four times.
struct Residual : torch::nn::Module, HasBranches {
  Residual() {
    for (int i = 0; i < 4; ++i) {
      a.push_back(register_module("a" + std::to_string(i), torch::nn::Linear(32, 32)));
      b.push_back(register_module("b" + std::to_string(i), torch::nn::Linear(32, 32)));
    }
    fc = register_module("fc", torch::nn::Linear(32, 3));
  }
  std::vector<Branch> branches() const override {
    std::vector<Branch> result;
    if (named) {
      for (size_t i = 0; i < 4; ++i) result.push_back({"", {a[i]->weight, b[i]->weight}, {}});
    }
    return result;
  }
  torch::Tensor forward(torch::Tensor x) {
    for (size_t i = 0; i < 4; ++i) x = x + b[i]->forward(a[i]->forward(x).relu());
    return fc->forward(x);
  }
  bool named = true;
  std::vector<torch::nn::Linear> a, b;
  torch::nn::Linear fc{nullptr};
};

TEST(Lsuv, BranchesEndWithTheirShareOfTheVariance) {
  const torch::Tensor x = normal_(torch::empty({128, 32}), 0, 1, Key(5));
  for (bool named : {true, false}) {
    Residual net;
    net.named = named;
    LsuvOptions options;
    if (!named) options.branch_ends = {"b0", "b1", "b2", "b3"};
    const std::vector<LsuvRow> rows = lsuv(net, [&](torch::Tensor in) { return net.forward(in); }, x, options);
    for (const LsuvRow& row : rows) {
      if (row.name != "fc") {
        EXPECT_NEAR(row.after, row.name[0] == 'b' ? 0.25 : 1, 1e-4) << row.name;
      }
    }
  }
}

TEST(Lsuv, WholeTensorCountsOffsetsAndAcrossSampleDoesNot) {
  Cnn net;
  small_normal(net, 0);
  // Constant pictures that hardly differ.
  const torch::Tensor x = pictures(64) * 1e-4 + normal_(torch::empty({1, 3, 16, 16}), 0, 1, Key(3));
  EXPECT_NEAR(run(net, x, {.stat = LsuvStat::whole_tensor})[0].after, 1, 1e-4);
  net.forward(x);
  EXPECT_LT(across(net.outputs[0]), 1e-6);
  run(net, x);
  net.eval();
  net.forward(x);
  EXPECT_NEAR(across(net.outputs[0]), 1, 5e-3);
}

TEST(Lsuv, ErrorsLeaveEverythingAsItWas) {
  Cnn net;
  std::vector<torch::Tensor> before;
  for (const torch::Tensor& p : net.parameters()) before.push_back(p.detach().clone());
  const auto error = [&](const torch::Tensor& x, const LsuvOptions& o = {}) { return message_of([&] { run(net, x, o); }); };
  EXPECT_EQ(error(pictures(1)), "[lsuv] x must have at least 2 samples, got (1, 3, 16, 16)");
  EXPECT_EQ(error(pictures(1).expand({8, 3, 16, 16})), "[lsuv] layer conv0 must vary across samples, got variance 0");
  EXPECT_EQ(error(torch::full({4, 3, 16, 16}, std::nan(""))), "[lsuv] layer conv0 must be finite, got nan");
  EXPECT_EQ(error(pictures(4), {.skip = {"conv9"}}), "[lsuv] skip must name layers, got \"conv9\" (nearest: conv0)");
  EXPECT_EQ(error(pictures(4), {.branch_ends = {"xyz"}}), "[lsuv] branch_ends must name layers, got \"xyz\"");
  EXPECT_EQ(error(pictures(4), {.target = 0}), "[lsuv] target must be in (0, inf), got 0");
  EXPECT_EQ(error(pictures(4), {.tol = 1}), "[lsuv] tol must be in (0, 1), got 1");
  EXPECT_EQ(error(pictures(4), {.max_rounds = 0}), "[lsuv] max_rounds must be >= 1, got 0");
  EXPECT_EQ(message_of([&] { lsuv(net, [](torch::Tensor x) { return x; }, pictures(4), {}); }),
            "[lsuv] forward must run layers in this thread, got none");
  net.train();
  EXPECT_THROW(lsuv(net, [&](torch::Tensor x) -> torch::Tensor { net.convs[0]->forward(x); throw std::domain_error("forward"); },
                    pictures(4), {}), std::domain_error);
  EXPECT_TRUE(net.drop->is_training());
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(torch::equal(before[i], net.parameters()[i])) << i;
}

// 30 ReLU layers of width 512: variance of each layer's output relative to the first.
struct Deep : torch::nn::Module {
  explicit Deep(int64_t depth, int64_t width = 512) {
    for (int64_t i = 0; i < depth; ++i) layers.push_back(register_module("l" + std::to_string(i), torch::nn::Linear(width, width)));
  }
  torch::Tensor forward(torch::Tensor x) {
    samples += x.size(0);
    variances.clear();
    for (size_t i = 0; i < layers.size(); ++i) {
      x = layers[i]->forward(i == 0 ? x : x.relu());
      variances.push_back(x.detach().to(torch::kDouble).square().mean().item<double>());
    }
    return x;
  }
  // Geometric mean over keys of the last layer's second moment over the first's.
  double ratio(const std::function<void(torch::Tensor, Key)>& fill, double torch_bias = 0) {
    torch::NoGradGuard no_grad;
    double sum = 0;
    constexpr uint64_t kKeys = 3;
    for (uint64_t k = 0; k < kKeys; ++k) {
      for (size_t i = 0; i < layers.size(); ++i) {
        fill(layers[i]->weight, Key(k).fold_in(i));
        layers[i]->bias.zero_();
        if (torch_bias > 0) uniform_(layers[i]->bias, -torch_bias, torch_bias, Key(k).fold_in(i).fold_in("bias"));
      }
      forward(normal_(torch::empty({64, 512}), 0, 1, Key(k).fold_in("x")));
      sum += std::log(variances.back() / variances.front());
    }
    return std::exp(sum / static_cast<double>(kKeys));
  }
  std::vector<torch::nn::Linear> layers;
  std::vector<double> variances;
  int64_t samples = 0;
};

TEST(DeepNet, VarianceAfterThirtyLayers) {
  Deep net(30);
  const double he = net.ratio([](torch::Tensor w, Key key) { kaiming_normal_(w, {}, key); });
  EXPECT_GT(he, 0.25);
  EXPECT_LT(he, 4);
  const double orthogonal = net.ratio([](torch::Tensor w, Key key) { orthogonal_(w, std::sqrt(2.0), 1, key); });
  EXPECT_GT(orthogonal, 0.25);
  EXPECT_LT(orthogonal, 4);
  // 2^-29 = 1.9e-9, 6^-29 = 2.7e-23.
  const double xavier = net.ratio([](torch::Tensor w, Key key) { xavier_normal_(w, 1, {}, key); });
  EXPECT_GT(xavier, 0.25 * std::pow(2.0, -29));
  EXPECT_LT(xavier, 4 * std::pow(2.0, -29));
  const double torch_start =
      net.ratio([](torch::Tensor w, Key key) { kaiming_uniform_(w, {.act = Act::leaky_relu, .a = std::sqrt(5.0)}, key); });
  EXPECT_GT(torch_start, 0.25 * std::pow(6.0, -29));
  EXPECT_LT(torch_start, 4 * std::pow(6.0, -29));
}

TEST(DeepNet, LsuvMakesEveryLayersVarianceOneInTwoAndAHalfForwards) {
  Deep net(30);
  const torch::Tensor x = normal_(torch::empty({128, 512}), 0, 1, Key(9));
  const std::vector<LsuvRow> rows = lsuv(net, [&](torch::Tensor in) { return net.forward(in); }, x, {.include_head = true});
  EXPECT_LE(static_cast<double>(net.samples), 2.5 * 128);
  ASSERT_EQ(rows.size(), 30u);
  for (const LsuvRow& row : rows) EXPECT_NEAR(row.after, 1, 0.02) << row.name;
}

TEST(DeepNet, SigmoidGradientsVanish) {
  // Ten layers, Xavier: each takes about a quarter of the gradient's size, squared a sixteenth of its energy.
  Deep net(10, 128);
  torch::NoGradGuard no_grad;
  for (size_t i = 0; i < net.layers.size(); ++i) {
    xavier_normal_(net.layers[i]->weight, 1, {}, Key(i));
    net.layers[i]->bias.zero_();
  }
  torch::AutoGradMode with_grad(true);
  torch::Tensor h = normal_(torch::empty({64, 128}), 0, 1, Key(99));
  for (torch::nn::Linear& layer : net.layers) h = layer->forward(h).sigmoid();
  (h * normal_(torch::empty({64, 128}), 0, 1, Key(98))).sum().backward();
  const double ratio = net.layers.front()->weight.grad().norm().item<double>() / net.layers.back()->weight.grad().norm().item<double>();
  EXPECT_LT(ratio, 1e-4);
  EXPECT_GT(ratio, 1e-7);
}

TEST(DeepNet, EqualUnitsStayEqual) {
  torch::nn::Linear hidden(20, 100), out(100, 3);
  torch::NoGradGuard no_grad;
  for (auto& p : hidden->parameters()) p.fill_(0.05);
  for (auto& p : out->parameters()) p.fill_(0.05);
  const torch::Tensor x = normal_(torch::empty({64, 20}), 0, 1, Key(1));
  const torch::Tensor y = torch::arange(64).remainder(3);
  for (int step = 0; step < 100; ++step) {
    torch::AutoGradMode with_grad(true);
    hidden->zero_grad();
    out->zero_grad();
    torch::Tensor loss = at::nll_loss(at::log_softmax(out->forward(hidden->forward(x).tanh()), 1), y);
    loss.backward();
    torch::NoGradGuard still;
    for (auto& p : hidden->parameters()) p.sub_(p.grad(), 0.1);
    for (auto& p : out->parameters()) p.sub_(p.grad(), 0.1);
  }
  const torch::Tensor w = hidden->weight.detach();
  EXPECT_LE((w - w[0]).abs().max().item<double>(), 1e-6);  // rank 1
  EXPECT_GT((w[0] - 0.05).abs().max().item<double>(), 1e-3);  // but it moved
}

}  // namespace
}  // namespace ballast
