#include <ballast/train/ema.h>

#include <cmath>
#include <vector>

#include <gtest/gtest.h>
#include <torch/nn/module.h>

#include <ballast/base/check.h>

namespace ballast {
namespace {

struct Counted : torch::nn::Module {
  Counted() {
    w = register_parameter("w", torch::zeros({3}, torch::kDouble));
    mean = register_buffer("mean", torch::zeros({}, torch::kDouble));
    count = register_buffer("count", torch::zeros({}, torch::kLong));
  }
  void set(double value) {
    torch::NoGradGuard no_grad;
    w.fill_(value);
    mean.fill_(-value);
    count.fill_(static_cast<int64_t>(value));
  }
  torch::Tensor w, mean, count;
};

TEST(Ema, IsTheWeightedSumOfAllSteps) {
  Counted net;
  Ema ema(net, 4);
  const double d = std::pow(0.5, 0.25);
  std::vector<double> decays;
  for (int t = 1; t <= 60; ++t) {
    net.set(std::sin(t));
    ema.update();
    decays.push_back(std::min(d, (1.0 + t) / (10.0 + t)));
  }
  // In the closed form: each step's weight is (1 - d_t) times the decays after it.
  double expected = 0;
  for (size_t i = 0; i < decays.size(); ++i) {
    double weight = 1 - decays[i];
    for (size_t j = i + 1; j < decays.size(); ++j) weight *= decays[j];
    expected += weight * std::sin(static_cast<double>(i + 1));
  }
  EXPECT_NEAR(ema.averages().at("w")[1].item<double>(), expected, 1e-14);
  EXPECT_NEAR(ema.averages().at("mean").item<double>(), -expected, 1e-14);
}

TEST(Ema, AfterOneHalfLifeAWeightCountsHalf) {
  Counted net;
  Ema ema(net, 100);
  net.set(8);
  for (int t = 0; t < 3000; ++t) ema.update();  // far behind the start
  net.set(0);
  for (int t = 0; t < 100; ++t) ema.update();
  EXPECT_NEAR(ema.averages().at("w")[0].item<double>(), 4, 1e-9);
  EXPECT_EQ(ema.averages().at("count").item<int64_t>(), 0);
}

TEST(Ema, SwapsInAndBack) {
  Counted net;
  Ema ema(net, 1);
  net.set(6);
  ema.update();
  net.set(2);
  ema.swap_in(net);
  EXPECT_NE(net.w[0].item<double>(), 2);
  EXPECT_TRUE(net.w.equal(ema.averages().at("w")));
  ema.swap_back(net);
  EXPECT_EQ(net.w[0].item<double>(), 2);
  Ema other(net, 1);
  other.restore(ema.updates(), ema.averages(), "x");
  ema.update();
  other.update();
  EXPECT_TRUE(other.averages().at("w").equal(ema.averages().at("w")));
  EXPECT_THROW(other.restore(1, {}, "x"), DataError);
  EXPECT_THROW(Ema(net, 0), std::invalid_argument);
}

}  // namespace
}  // namespace ballast
