#include <ballast/train/trainer.h>

#include <cmath>
#include <limits>

#include <gtest/gtest.h>
#include <torch/cuda.h>
#include <torch/nn/functional/loss.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

namespace ballast {
namespace {

struct SmallNet : torch::nn::Module {
  explicit SmallNet(bool norm = false) {
    torch::manual_seed(3);
    conv = register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(2, 8, 3).padding(1)));
    if (norm) {
      bn = register_module("bn", torch::nn::BatchNorm2d(8));
    }
    fc = register_module("fc", torch::nn::Linear(8, 3));
  }
  torch::Tensor forward(const torch::Tensor& x) {
    torch::Tensor h = conv(x);
    if (bn) {
      h = bn(h);
    }
    return fc(torch::relu(h).mean({2, 3}));
  }
  torch::nn::Conv2d conv{nullptr};
  torch::nn::BatchNorm2d bn{nullptr};
  torch::nn::Linear fc{nullptr};
};

struct Data {
  torch::Tensor x, y;
};
Data data(int64_t n) {
  torch::manual_seed(7);
  Data d{torch::randn({n, 2, 6, 6}), torch::randint(3, {n})};
  d.x.select(1, 0) += d.y.view({n, 1, 1}).to(torch::kFloat);
  return d;
}

Trainer make(SmallNet& net, TrainerOptions options) {
  return Trainer(net, [&net](const torch::Tensor& x) { return net.forward(x); }, std::move(options));
}

TrainerOptions constant(double lr) {
  TrainerOptions o;
  o.schedule.name = LrScheduleName::constant;
  o.schedule.lr = lr;
  o.total_steps = 1000;
  return o;
}

TEST(Trainer, MixedTargetsAreSoftTargets) {
  // One step on (y, partner, lam) gives the weights of one on the probabilities lam y + (1 - lam) partner.
  const Data d = data(6);
  const torch::Tensor partner = d.y.flip(0), lam = torch::tensor({0.1F, 0.5F, 0.9F, 1.0F, 0.0F, 0.3F});
  for (const LossName loss : {LossName::cross_entropy, LossName::bce, LossName::focal}) {
    for (const int64_t micro : {0, 4}) {
      SmallNet mixed, hand;
      TrainerOptions o = constant(0.1);
      o.loss = loss;
      o.micro_batch = micro;
      Trainer trainer = make(mixed, o);
      const StepResult result = trainer.step(d.x, d.y, partner, lam);
      ASSERT_TRUE(result.finite);
      const torch::Tensor a = torch::one_hot(d.y, 3).to(torch::kFloat), b = torch::one_hot(partner, 3).to(torch::kFloat);
      const torch::Tensor q = lam.unsqueeze(1) * a + (1 - lam).unsqueeze(1) * b;
      const torch::Tensor z = hand.forward(d.x), p = torch::softmax(z, 1);
      torch::Tensor want;
      if (loss == LossName::cross_entropy) {
        want = -(q * torch::log_softmax(z, 1)).sum() / 6;
      } else if (loss == LossName::bce) {
        want = -(q * torch::log_sigmoid(z) + (1 - q) * torch::log_sigmoid(-z)).sum() / 6;
      } else {
        want = -(q * (1 - p).pow(2) * torch::log_softmax(z, 1)).sum() / 6;
      }
      EXPECT_NEAR(result.loss, want.item<double>(), 1e-5) << static_cast<int>(loss) << " " << micro;
    }
  }
}

TEST(Trainer, LearnsAToyProblem) {
  SmallNet net(true);
  Trainer trainer = make(net, constant(0.1));
  const Data d = data(64);
  double first = 0, last = 0;
  for (int i = 0; i < 60; ++i) {
    last = trainer.step(d.x, d.y).loss;
    first = i == 0 ? last : first;
  }
  EXPECT_LT(last, 0.5 * first);
  EXPECT_EQ(trainer.steps(), 60);
}

TEST(Trainer, AccumulationGivesTheGradientOfTheWholeStep) {
  const Data d = data(13);  // 13 = 4 + 3 + 3 + 3 rows
  std::vector<std::vector<torch::Tensor>> weights;
  for (const int64_t micro : {0, 4, 5, 1}) {
    SmallNet net;
    TrainerOptions o = constant(0.1);
    o.micro_batch = micro;
    Trainer trainer = make(net, o);
    for (int i = 0; i < 3; ++i) {
      trainer.step(d.x, d.y);
    }
    weights.push_back(net.parameters());
  }
  for (size_t w = 1; w < weights.size(); ++w) {
    for (size_t i = 0; i < weights[0].size(); ++i) {
      EXPECT_LE((weights[0][i] - weights[w][i]).abs().max().item<double>(), 2e-6);
    }
  }
}

TEST(Trainer, NonFiniteStepsChangeNothing) {
  SmallNet net(true);
  Trainer trainer = make(net, constant(0.1));
  Data d = data(16);
  trainer.step(d.x, d.y);
  const WeightsCopy before(net);
  d.x[3][0][2][2] = std::numeric_limits<float>::quiet_NaN();
  const StepResult result = trainer.step(d.x, d.y);
  EXPECT_FALSE(result.finite);
  EXPECT_FALSE(std::isfinite(result.loss));
  EXPECT_EQ(trainer.steps(), 1);
  EXPECT_TRUE(before.finite());
  const WeightsCopy after(net);
  EXPECT_TRUE(after.finite());
  for (const torch::Tensor& b : net.buffers()) {
    EXPECT_TRUE(torch::isfinite(b).all().item<bool>());
  }
}

TEST(Trainer, ClippingByNormBoundsTheUpdate) {
  SmallNet net;
  TrainerOptions o = constant(1.0);
  o.optimizer.momentum = 0;
  o.optimizer.weight_decay = 0;
  o.clip = ClipMode::norm;
  o.clip_limit = 1e-3;
  const WeightsCopy before(net);
  std::vector<torch::Tensor> start;
  for (const torch::Tensor& p : net.parameters()) {
    start.push_back(p.detach().clone());
  }
  Trainer trainer = make(net, o);
  const Data d = data(16);
  const StepResult r = trainer.step(d.x, d.y);
  EXPECT_TRUE(r.clipped);
  double sum = 0;
  for (size_t i = 0; i < start.size(); ++i) {
    sum += (net.parameters()[i] - start[i]).square().sum().item<double>();
  }
  EXPECT_NEAR(std::sqrt(sum), 1e-3, 2e-6);
}

TEST(Trainer, AdaptiveClippingBoundsEachUnitByItsWeights) {
  SmallNet net;
  TrainerOptions o = constant(1.0);
  o.optimizer.momentum = 0;
  o.optimizer.weight_decay = 0;
  o.clip = ClipMode::agc;
  o.clip_limit = 1e-3;
  o.head = "none";
  std::vector<torch::Tensor> start;
  for (const torch::Tensor& p : net.parameters()) {
    start.push_back(p.detach().clone());
  }
  Trainer trainer = make(net, o);
  const Data d = data(16);
  EXPECT_TRUE(trainer.step(d.x, d.y).clipped);
  int64_t at_limit = 0;
  for (size_t i = 0; i < start.size(); ++i) {
    const torch::Tensor moved = (net.parameters()[i].detach() - start[i]);
    const bool whole = start[i].dim() <= 1;
    const int64_t units = whole ? 1 : start[i].size(0);
    for (int64_t u = 0; u < units; ++u) {
      const double w = (whole ? start[i] : start[i][u]).norm().item<double>();
      const double g = (whole ? moved : moved[u]).norm().item<double>();
      const double limit = 1e-3 * std::max(w, 1e-3);
      EXPECT_LE(g, limit * (1 + 1e-4) + 1e-7);
      at_limit += g > 0.99 * limit ? 1 : 0;
    }
  }
  EXPECT_GT(at_limit, 0);
}

TEST(Trainer, LossIsThatOfLibTorch) {
  for (const double smoothing : {0.0, 0.1}) {
    SmallNet net;
    TrainerOptions o = constant(0.1);
    o.label_smoothing = smoothing;
    o.micro_batch = 3;
    const Data d = data(10);
    const double expected = torch::nn::functional::cross_entropy(
                                net.forward(d.x), d.y, torch::nn::functional::CrossEntropyFuncOptions().label_smoothing(smoothing))
                                .item<double>();
    Trainer trainer = make(net, o);
    EXPECT_NEAR(trainer.step(d.x, d.y).loss, expected, 1e-6);
  }
}

TEST(Trainer, ChannelsLastGivesTheSameResult) {
  const Data d = data(16);
  SmallNet a;
  SmallNet b;
  to_channels_last(b);
  EXPECT_TRUE(b.conv->weight.is_contiguous(torch::MemoryFormat::ChannelsLast));
  Trainer ta = make(a, constant(0.1));
  Trainer tb = make(b, constant(0.1));
  for (int i = 0; i < 5; ++i) {
    ta.step(d.x, d.y);
    tb.step(d.x.contiguous(torch::MemoryFormat::ChannelsLast), d.y);
  }
  EXPECT_LE((a.conv->weight - b.conv->weight).abs().max().item<double>(), 1e-5);
}

TEST(Trainer, FollowsTheScheduleAndItsMomentum) {
  SmallNet net;
  TrainerOptions o;
  o.schedule.name = LrScheduleName::one_cycle;
  o.schedule.lr = 0.2;
  o.total_steps = 10;
  Trainer trainer = make(net, o);
  const Data d = data(8);
  for (int64_t t = 0; t < 10; ++t) {
    const StepResult r = trainer.step(d.x, d.y);
    EXPECT_EQ(r.lr, lr_at(o.schedule, t, 10));
    EXPECT_EQ(r.momentum, momentum_at(o.schedule, t, 10, 0.9));
  }
}

TEST(WeightsCopy, ComesBackToTheMoment) {
  SmallNet net(true);
  Trainer trainer = make(net, constant(0.1));
  const Data d = data(16);
  trainer.step(d.x, d.y);
  const WeightsCopy copy(net);
  net.eval();
  const torch::Tensor expected = net.forward(d.x);
  net.train();
  trainer.step(d.x, d.y);
  copy.restore(net);
  net.eval();
  EXPECT_TRUE(torch::equal(net.forward(d.x), expected));
}

TEST(Device, NamesAreChecked) {
  EXPECT_TRUE(find_device("cpu").is_cpu());
  EXPECT_THROW(find_device("tpu"), std::invalid_argument);
  EXPECT_THROW(find_device("cuda:x"), std::invalid_argument);
  if (!torch::cuda::is_available()) {
    try {
      find_device("cuda:1");
      FAIL();
    } catch (const std::invalid_argument& e) {
      EXPECT_STREQ(e.what(),
                   "[device] cuda:1 must be a device of this machine, got no CUDA device that this LibTorch can use; --device cpu runs here");
    }
  }
}

TEST(Trainer, FindsTheLayerWhereTheForwardPassBroke) {
  const Data d = data(6);
  SmallNet net(true);
  torch::NoGradGuard no_grad;
  net.fc->weight.fill_(3e38F);
  const torch::Tensor mean = net.bn->running_mean.clone();
  torch::autograd::AutoGradMode grad(true);
  Trainer trainer = make(net, constant(0.1));
  EXPECT_FALSE(trainer.step(d.x, d.y).finite);
  const NonFiniteOrigin origin = trainer.find_non_finite(d.x, d.y);
  EXPECT_EQ(origin.pass, "forward");
  EXPECT_EQ(origin.layer, "fc");
  EXPECT_NE(origin.text().find("aten::"), std::string::npos) << origin.text();
  EXPECT_TRUE(net.bn->running_mean.equal(mean));
  EXPECT_FALSE(net.fc->weight.grad().defined() && net.fc->weight.grad().abs().sum().item<double>() > 0);
}

TEST(Trainer, FindsTheLayerWhereTheBackwardPassBroke) {
  // sqrt has an infinite slope at 0: the forward pass is finite, the gradient of what feeds it is not.
  Data d = data(4);
  SmallNet net;
  {
    torch::NoGradGuard no_grad;
    net.conv->weight.zero_();
    net.conv->bias.zero_();
  }
  Trainer trainer(net, [&net](const torch::Tensor& x) { return net.fc(torch::sqrt(net.conv(x).mean({2, 3}))); }, constant(0.1));
  EXPECT_FALSE(trainer.step(d.x, d.y).finite);
  const NonFiniteOrigin origin = trainer.find_non_finite(d.x, d.y);
  EXPECT_EQ(origin.pass, "backward");
  EXPECT_EQ(origin.layer, "conv");
}

TEST(Trainer, FindsWeightsAndInputThatAreNotFinite) {
  Data d = data(4);
  SmallNet net;
  Trainer trainer = make(net, constant(0.1));
  {
    torch::NoGradGuard no_grad;
    net.conv->bias[0] = std::numeric_limits<float>::infinity();
  }
  EXPECT_EQ(trainer.find_non_finite(d.x, d.y).text(), "the weights of conv.bias are not finite");
  d.x[0][0][0][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(trainer.find_non_finite(d.x, d.y).text(), "the pictures themselves are not finite");
}

TEST(Trainer, HoldsTheRateFromAStepOn) {
  const Data d = data(4);
  SmallNet net;
  TrainerOptions o = constant(0.1);
  o.hold_from = 2;
  o.hold_lr = 0.03;
  Trainer trainer = make(net, o);
  EXPECT_DOUBLE_EQ(trainer.step(d.x, d.y).lr, 0.1);
  EXPECT_DOUBLE_EQ(trainer.step(d.x, d.y).lr, 0.1);
  EXPECT_DOUBLE_EQ(trainer.step(d.x, d.y).lr, 0.03);
}

// bfloat16 keeps 8 bits: a few steps stay near those in float32, and are not the same.
TEST(Trainer, Bf16StaysNearFp32) {
  const Data d = data(32);
  SmallNet wide(true), narrow(true);
  TrainerOptions o = constant(0.05);
  Trainer a = make(wide, o);
  o.bf16 = true;
  Trainer b = make(narrow, o);
  double largest = 0;
  for (int i = 0; i < 20; ++i) {
    const StepResult x = a.step(d.x, d.y), y = b.step(d.x, d.y);
    ASSERT_TRUE(y.finite);
    largest = std::max(largest, std::abs(x.loss - y.loss));
  }
  EXPECT_LT(largest, 0.03);
  EXPECT_GT(largest, 0);
  EXPECT_EQ(narrow.conv->weight.scalar_type(), torch::kFloat);
}

}  // namespace
}  // namespace ballast
