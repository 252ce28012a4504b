#include <ballast/probe/init_report.h>

#include <gtest/gtest.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/pooling.h>
#include <torch/nn/modules/rnn.h>
#include <torch/script.h>

#include <cmath>

namespace ballast {
namespace {

namespace nn = torch::nn;

using Init = std::function<void(torch::Tensor& weight, int64_t layer)>;

void normal(torch::Tensor& w, double std) { w.normal_(0, std); }
Init he() { return [](torch::Tensor& w, int64_t) { normal(w, std::sqrt(2.0 / static_cast<double>(w.size(1)))); }; }
Init xavier() { return [](torch::Tensor& w, int64_t) { normal(w, std::sqrt(2.0 / static_cast<double>(w.size(0) + w.size(1)))); }; }

// Linear layers with an activation behind each but the last; inputs and outputs of equal width but for the head.
struct Deep : nn::Module {
  Deep(int64_t depth, int64_t width, const Init& init, std::function<torch::Tensor(torch::Tensor)> act_ = [](torch::Tensor x) { return torch::relu_(x); })
      : act(std::move(act_)) {
    torch::NoGradGuard no_grad;
    for (int64_t i = 0; i < depth; ++i) {
      auto layer = register_module("layer" + std::to_string(i + 1), nn::Linear(width, width));
      if (init) {
        init(layer->weight, i);
        layer->bias.zero_();
      }
      layers.push_back(layer);
    }
    head = register_module("head", nn::Linear(width, 10));
  }
  torch::Tensor forward(torch::Tensor x) {
    for (auto& layer : layers) x = act(layer->forward(x));
    return head->forward(x);
  }
  std::function<torch::Tensor(torch::Tensor)> act;
  std::vector<nn::Linear> layers;
  nn::Linear head{nullptr};
};

InitReport probe(Deep& model, int64_t width, const InitReportOptions& options = {}, int64_t samples = 64) {
  const torch::Tensor x = torch::randn({samples, width}), y = torch::randint(10, {samples}, torch::kLong);
  return init_report(model, [&](const torch::Tensor& in) { return model.forward(in); }, x, y, options);
}

double ratio(const InitReport& r, size_t first, size_t last) { return r.layers.at(last).signal.across / r.layers.at(first).signal.across; }

bool has(const InitReport& r, const std::string& name) {
  return std::any_of(r.findings.begin(), r.findings.end(), [&](const InitFinding& f) { return f.name == name; });
}

TEST(InitReport, ThirtyReluLayersOfWidth512) {
  torch::manual_seed(0);
  Deep a(30, 512, he());
  const InitReport r_he = probe(a, 512);
  EXPECT_EQ(r_he.verdict, "healthy") << r_he.text;
  EXPECT_GT(ratio(r_he, 0, 29), 1e-3);
  EXPECT_LT(ratio(r_he, 0, 29), 20);
  EXPECT_NEAR(r_he.layers[3].he_ratio, 1, 0.01);

  Deep b(30, 512, xavier());
  const InitReport r_xavier = probe(b, 512);
  EXPECT_EQ(r_xavier.verdict, "vanishing") << r_xavier.text;
  EXPECT_EQ(r_xavier.level, "error");
  EXPECT_EQ(r_xavier.layer, "layer2");
  EXPECT_EQ(r_xavier.cure, "he");
  EXPECT_LT(ratio(r_xavier, 0, 29), 1e-7);
  EXPECT_GT(ratio(r_xavier, 0, 29), 1e-12);

  Deep c(30, 512, nullptr);  // LibTorch's own start
  const InitReport r_torch = probe(c, 512);
  EXPECT_EQ(r_torch.verdict, "vanishing") << r_torch.text;
  // (1/6)^29 is 1e-23; beside biases of 0.04 float32's rounding leaves about 1e-17.
  EXPECT_LT(ratio(r_torch, 0, 29), 1e-15);
  EXPECT_GT(ratio(r_torch, 0, 29), 1e-27);
}

TEST(InitReport, OnlyTheSecondHalfVanishesAndIsNamed) {
  torch::manual_seed(0);
  Deep model(20, 256, [](torch::Tensor& w, int64_t layer) { normal(w, (layer < 10 ? 1 : 0.2) * std::sqrt(2.0 / 256)); });
  const InitReport r = probe(model, 256);
  EXPECT_EQ(r.verdict, "vanishing") << r.text;
  EXPECT_EQ(r.layer, "layer11");
}

TEST(InitReport, ExplodingAndNotFinite) {
  torch::manual_seed(0);
  Deep model(12, 64, [](torch::Tensor& w, int64_t) { normal(w, 1); });
  const InitReport r = probe(model, 64);
  EXPECT_EQ(r.verdict, "exploding") << r.text;
  Deep broken(5, 64, he());
  {
    torch::NoGradGuard no_grad;
    broken.layers[2]->weight[0][0] = NAN;
  }
  const InitReport n = probe(broken, 64);
  EXPECT_EQ(n.verdict, "not_finite") << n.text;
  EXPECT_EQ(n.layer, "layer3");
}

TEST(InitReport, SigmoidWithXavierVanishesAndItsUpdatesAreSmall) {
  torch::manual_seed(0);
  Deep model(10, 128, xavier(), [](torch::Tensor x) { return torch::sigmoid(x); });
  const InitReport r = probe(model, 128);
  EXPECT_EQ(r.verdict, "vanishing") << r.text;
  EXPECT_EQ(r.cure, "lsuv");
  // Each layer divides gradients by 4: 4^-9 over nine of them.
  const double first_to_last = r.layers[0].output_gradient / r.layers[9].output_gradient;
  EXPECT_LT(first_to_last, 1e-4);
  EXPECT_GT(first_to_last, 1e-8);
  Deep deeper(20, 128, xavier(), [](torch::Tensor x) { return torch::sigmoid(x); });
  EXPECT_TRUE(has(probe(deeper, 128), "update_small"));
}

TEST(InitReport, EqualUnitsAreSymmetricForEver) {
  torch::manual_seed(0);
  Deep model(3, 100, [](torch::Tensor& w, int64_t) { w.fill_(0.02); });
  const InitReport r = probe(model, 100);
  EXPECT_EQ(r.verdict, "symmetric") << r.text;
  EXPECT_EQ(r.level, "error");
  EXPECT_EQ(r.layer, "layer1");
  EXPECT_EQ(r.layers[0].equal_units, 100);
  EXPECT_NEAR(r.layers[1].signal.channel_correlation, 1, 1e-4);
  // After 100 steps of gradient descent the 100 hidden units are still one.
  nn::Sequential net(nn::Linear(20, 100), nn::Tanh(), nn::Linear(100, 1));
  torch::NoGradGuard no_grad;
  for (torch::Tensor& p : net->parameters()) p.fill_(0.1);
  const torch::Tensor x = torch::randn({64, 20}), y = torch::randn({64, 1});
  for (int i = 0; i < 100; ++i) {
    torch::AutoGradMode grad(true);
    net->zero_grad();
    torch::mse_loss(net->forward(x), y).backward();
    torch::NoGradGuard off;
    for (torch::Tensor& p : net->parameters()) p.sub_(0.05 * p.grad());
  }
  const torch::Tensor w = net->named_parameters()["0.weight"];
  const torch::Tensor rows_differ = (w - w[0]).abs().max();
  EXPECT_LT(rows_differ.item<double>(), 1e-5);
  EXPECT_GT((w - 0.1).abs().max().item<double>(), 1e-3);
}

TEST(InitReport, AllZeroIsSymmetricWithoutGradientUnlessOnPurpose) {
  torch::manual_seed(0);
  Deep zero(3, 32, [](torch::Tensor& w, int64_t) { w.zero_(); });
  const InitReport r = probe(zero, 32);
  EXPECT_EQ(r.verdict, "symmetric") << r.text;
  EXPECT_TRUE(has(r, "no_gradient"));

  Deep model(3, 32, he());
  {
    torch::NoGradGuard no_grad;
    model.head->weight.zero_();
    model.head->bias.zero_();
  }
  EXPECT_EQ(probe(model, 32).verdict, "symmetric");
  const InitReport opened = probe(model, 32, {.zero_on_purpose = {"head.*"}});
  EXPECT_EQ(opened.verdict, "healthy") << opened.text;
  EXPECT_TRUE(opened.layers.back().opened);
  EXPECT_FLOAT_EQ(static_cast<float>(opened.loss), std::log(10.0F));  // of the model as it is
  EXPECT_EQ(model.head->weight.count_nonzero().item<int64_t>(), 0);
}

TEST(InitReport, DeadAndSaturatedUnits) {
  torch::manual_seed(0);
  Deep dead(4, 64, he());
  {
    torch::NoGradGuard no_grad;
    dead.layers[1]->bias.slice(0, 0, 40).fill_(-100);
  }
  const InitReport r = probe(dead, 64);
  EXPECT_EQ(r.verdict, "dead") << r.text;
  EXPECT_EQ(r.layer, "layer2");
  Deep saturated(3, 64, [](torch::Tensor& w, int64_t layer) { normal(w, layer == 1 ? 40 : 0.125); }, [](torch::Tensor x) { return torch::tanh(x); });
  {
    torch::NoGradGuard no_grad;
    saturated.layers[1]->weight.zero_();
    saturated.layers[1]->weight.fill_diagonal_(0.01);
    saturated.layers[1]->bias.fill_(9);
  }
  const InitReport s = probe(saturated, 64);
  EXPECT_TRUE(has(s, "saturated")) << s.text;
}

TEST(InitReport, HeadBadlyScaled) {
  torch::manual_seed(0);
  Deep model(3, 64, he());
  {
    torch::NoGradGuard no_grad;
    model.head->weight.normal_(0, 3);
  }
  const InitReport r = probe(model, 64, {.lr = 1e-4});
  EXPECT_EQ(r.verdict, "head_badly_scaled") << r.text;
}

struct Everything {
  std::vector<torch::Tensor> values, gradients;
  std::vector<bool> modes, trainable;
  torch::Tensor generator = at::globalContext().defaultGenerator(torch::kCPU).get_state();
  explicit Everything(const nn::Module& m) {
    for (const auto& p : m.parameters()) {
      values.push_back(p.detach().clone());
      gradients.push_back(p.grad().defined() ? p.grad().clone() : torch::Tensor());
      trainable.push_back(p.requires_grad());
    }
    for (const auto& b : m.buffers()) values.push_back(b.detach().clone());
    for (const auto& layer : m.modules()) modes.push_back(layer->is_training());
  }
  void expect_equal(const Everything& other) const {
    ASSERT_EQ(values.size(), other.values.size());
    for (size_t i = 0; i < values.size(); ++i) EXPECT_TRUE(torch::equal(values[i], other.values[i])) << i;
    for (size_t i = 0; i < gradients.size(); ++i) {
      ASSERT_EQ(gradients[i].defined(), other.gradients[i].defined());
      if (gradients[i].defined()) {
        EXPECT_TRUE(torch::equal(gradients[i], other.gradients[i]));
      }
    }
    EXPECT_EQ(modes, other.modes);
    EXPECT_EQ(trainable, other.trainable);
    EXPECT_TRUE(torch::equal(generator, other.generator));
  }
};

nn::Sequential conv_net() {
  return nn::Sequential(nn::Conv2d(nn::Conv2dOptions(3, 8, 3).padding(1)), nn::BatchNorm2d(8), nn::ReLU(), nn::Dropout(0.5),
                        nn::Conv2d(nn::Conv2dOptions(8, 8, 3).padding(1).groups(4)), nn::BatchNorm2d(8), nn::ReLU(),
                        nn::AdaptiveAvgPool2d(1), nn::Flatten(), nn::Linear(8, 10));
}

TEST(InitReport, LeavesEveryBitAsItWas) {
  torch::manual_seed(0);
  nn::Sequential net = conv_net();
  const torch::Tensor x = torch::randn({8, 3, 8, 8}), y = torch::randint(10, {8}, torch::kLong);
  torch::cross_entropy_loss(net->forward(x), y).backward();
  net[3]->as<nn::Dropout>()->eval();
  net[5]->eval();
  net[0]->as<nn::Conv2d>()->bias.set_requires_grad(false);
  {
    torch::NoGradGuard no_grad;
    net[5]->as<nn::BatchNorm2d>()->weight.zero_();
  }
  const Everything before(*net);
  const auto forward = [&](const torch::Tensor& in) { return net->forward(in); };
  const InitReport r = init_report(*net, forward, x, y, {.zero_on_purpose = {"5.weight"}});
  before.expect_equal(Everything(*net));
  ASSERT_EQ(r.layers.size(), 3u);
  EXPECT_EQ(r.layers[0].name, "0");
  EXPECT_TRUE(r.layers[0].before_norm);
  EXPECT_FALSE(r.layers[2].before_norm);
  EXPECT_EQ(r.layers[1].fan_in, 2 * 9);
  EXPECT_EQ(r.layers[1].section, 1);
  EXPECT_EQ(r.layers[0].act, "aten::relu");
  EXPECT_GT(r.layers[1].update_ratio, 0);

  int calls = 0;
  EXPECT_THROW(init_report(*net, [&](const torch::Tensor& in) { return ++calls == 2 ? throw std::domain_error("x") : net->forward(in); }, x, y,
                           {.zero_on_purpose = {"5.*"}}),
               std::domain_error);
  before.expect_equal(Everything(*net));
}

TEST(InitReport, GradientsAreThoseOfAutograd) {
  torch::manual_seed(0);
  Deep model(3, 16, he(), [](torch::Tensor x) { return torch::tanh(x); });
  const torch::Tensor x = torch::randn({8, 16}), y = torch::randint(10, {8}, torch::kLong);
  const InitReport r = init_report(model, [&](const torch::Tensor& in) { return model.forward(in); }, x, y, {.lr = 0.5});
  const torch::Tensor z1 = model.layers[0]->forward(x);
  z1.retain_grad();
  torch::cross_entropy_loss(model.head->forward(torch::tanh(model.layers[2]->forward(torch::tanh(model.layers[1]->forward(torch::tanh(z1)))))), y).backward();
  EXPECT_NEAR(r.layers[0].output_gradient, z1.grad().square().mean().sqrt().item<double>(), 1e-7);
  const torch::Tensor g = model.layers[0]->weight.grad();
  EXPECT_NEAR(r.layers[0].weight_gradient, g.square().mean().sqrt().item<double>(), 1e-7);
  EXPECT_NEAR(r.layers[0].update_ratio, 0.5 * (g.norm() / model.layers[0]->weight.norm()).item<double>(), 1e-6);
  EXPECT_NEAR(r.layers[0].signal.across, z1.detach().var(0).mean().item<double>(), 1e-5);
}

TEST(InitReport, TorchScriptModulesAreProbedToo) {
  torch::manual_seed(0);
  torch::jit::Module m("net");
  m.register_parameter("w1", torch::randn({16, 16}, torch::requires_grad()), false);
  m.register_parameter("w2", torch::randn({10, 16}, torch::requires_grad()), false);
  m.define(R"JIT(
    def forward(self, x):
      return torch.linear(torch.relu(torch.linear(x, self.w1)), self.w2)
  )JIT");
  const torch::Tensor before = m.attr("w1").toTensor().clone();
  const torch::Tensor x = torch::randn({32, 16}), y = torch::randint(10, {32}, torch::kLong);
  for (int i = 0; i < 3; ++i) {
    const InitReport r = init_report(m, x, y);
    ASSERT_EQ(r.layers.size(), 2u);
    EXPECT_EQ(r.layers[0].name, "w1");
    EXPECT_EQ(r.layers[0].act, "aten::relu");
    EXPECT_GT(r.layers[0].output_gradient, 0);
    EXPECT_GT(r.layers[1].weight_gradient, 0);
  }
  EXPECT_TRUE(torch::equal(before, m.attr("w1").toTensor()));
}

InitReport probe_recurrent(double gain, bool lstm, bool random) {
  torch::manual_seed(0);
  nn::RNN rnn(nn::RNNOptions(28, 64).batch_first(true));
  nn::LSTM gated(nn::LSTMOptions(28, 64).batch_first(true));
  nn::Linear fc(64, 10);
  torch::NoGradGuard no_grad;
  if (lstm) {
    for (const auto& p : gated->named_parameters()) {
      if (p.key().find("weight_hh") != std::string::npos) {
        for (torch::Tensor gate : p.value().chunk(4, 0)) nn::init::orthogonal_(gate, gain);
      } else if (p.key().find("bias") != std::string::npos) {
        p.value().zero_();
        if (p.key().find("_ih") != std::string::npos) p.value().chunk(4, 0)[1].fill_(1);
      }
    }
  } else {
    for (const auto& p : rnn->named_parameters()) {
      if (p.key().find("weight_hh") != std::string::npos) {
        if (random) p.value().normal_(0, gain / 8); else nn::init::orthogonal_(p.value(), gain);
      } else if (p.key().find("bias") != std::string::npos) {
        p.value().zero_();
      }
    }
  }
  struct Net : nn::Module {} net;
  if (lstm) net.register_module("rnn", gated); else net.register_module("rnn", rnn);
  net.register_module("fc", fc);
  const torch::Tensor x = torch::randn({32, 28, 28}), y = torch::randint(10, {32}, torch::kLong);
  return init_report(net, [&](const torch::Tensor& in) {
    const torch::Tensor out = lstm ? std::get<0>(gated->forward(in)) : std::get<0>(rnn->forward(in));
    return fc->forward(out.select(1, -1));
  }, x, y);
}

TEST(InitReport, RecurrentNetworksPerTimeStep) {
  const InitReport orthogonal = probe_recurrent(1, false, false);
  EXPECT_EQ(orthogonal.verdict, "healthy") << orthogonal.text;
  ASSERT_EQ(orthogonal.layers[0].steps.size(), 28u);
  EXPECT_NEAR(orthogonal.layers[0].steps[27].echo / orthogonal.layers[0].steps[0].echo, 1, 0.01);
  EXPECT_EQ(probe_recurrent(1, true, false).verdict, "healthy") << probe_recurrent(1, true, false).text;
  for (const bool random : {false, true}) {
    const InitReport r = probe_recurrent(1.5, false, random);
    EXPECT_EQ(r.verdict, "exploding") << r.text;
    EXPECT_EQ(r.layer, "rnn");
    EXPECT_EQ(r.cure, "rnn");
  }
  EXPECT_EQ(probe_recurrent(0.2, false, false).verdict, "vanishing");
}

TEST(RecurrentSteps, GradientAtTheLastStepIsWhatArrives) {
  torch::manual_seed(0);
  for (const int kind : {0, 1, 2}) {
    nn::RNN rnn(nn::RNNOptions(5, 6));
    nn::LSTM lstm(nn::LSTMOptions(5, 6).num_layers(2));
    nn::GRU gru(nn::GRUOptions(5, 6).batch_first(true));
    struct Net : nn::Module {} net;
    if (kind == 0) net.register_module("r", rnn);
    if (kind == 1) net.register_module("r", lstm);
    if (kind == 2) net.register_module("r", gru);
    const torch::Tensor x = kind == 2 ? torch::randn({4, 7, 5}) : torch::randn({7, 4, 5});
    const InitReport r = init_report(net, [&](const torch::Tensor& in) {
      const torch::Tensor out = kind == 0 ? std::get<0>(rnn->forward(in)) : kind == 1 ? std::get<0>(lstm->forward(in)) : std::get<0>(gru->forward(in));
      return kind == 2 ? out.select(1, 6) : out[6];
    }, x, torch::zeros({4, 6}));
    const auto& steps = r.layers.at(0).steps;
    ASSERT_EQ(steps.size(), kind == 1 ? 14u : 7u) << kind;
    EXPECT_GT(steps.back().gradient, 0);
    for (size_t i = 1; i < steps.size(); ++i) EXPECT_EQ(steps[i].layer * 7 + steps[i].step, static_cast<int64_t>(i));
    if (kind != 1) {
      // mse / 2 of a state against 0: the gradient is the state over its number of values.
      torch::NoGradGuard no_grad;
      const torch::Tensor h = kind == 0 ? std::get<0>(rnn->forward(x))[6] : std::get<0>(gru->forward(x)).select(1, 6);
      EXPECT_NEAR(steps.back().gradient, (h / 24).square().mean().sqrt().item<double>(), 1e-6) << kind;
    }
  }
}

TEST(EqualUnits, CountsRowsBitForBit) {
  torch::Tensor w = torch::arange(12, torch::kFloat).view({4, 3});
  EXPECT_EQ(equal_units(w), 0);
  w[2].copy_(w[0]);
  EXPECT_EQ(equal_units(w), 2);
  EXPECT_EQ(equal_units(w, torch::tensor({0.0F, 0.0F, 1.0F, 0.0F})), 0);
  EXPECT_EQ(equal_units(torch::zeros({4, 3})), 4);
  EXPECT_EQ(equal_units(torch::zeros({1, 3})), 0);
}

TEST(InitReport, SaysWhatIsWrong) {
  Deep model(1, 4, he());
  const auto forward = [&](const torch::Tensor& in) { return model.forward(in); };
  const torch::Tensor x = torch::ones({2, 4}), y = torch::zeros({2}, torch::kLong);
  const auto text = [&](const std::function<void()>& run) -> std::string {
    try {
      run();
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(text([&] { init_report(model, forward, x.slice(0, 0, 1), y); }), "[init_report] x must have at least 2 samples, got 1");
  EXPECT_EQ(text([&] { init_report(model, forward, x, y, {.lr = 0}); }), "[init_report] lr must be > 0, got 0");
  EXPECT_EQ(text([&] { init_report(model, [](const torch::Tensor& in) { return in * 1; }, x, y); }),
            "[init_report] forward must run layers in this thread, got none");
}

}  // namespace
}  // namespace ballast
