#include <ballast/probe/drop_order.h>

#include <gtest/gtest.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <cmath>

namespace ballast {
namespace {

namespace nn = torch::nn;

std::vector<DropOrderRow> rows_of(nn::Sequential& net, const torch::Tensor& x) {
  return drop_order(*net, [&](const torch::Tensor& in) { return net->forward(in); }, x);
}

TEST(VarianceShift, ClosedForm) {
  EXPECT_NEAR(variance_shift(0.1, 0, 1), 1.1111, 1e-4);
  EXPECT_NEAR(variance_shift(0.3, 0, 1), 1.4286, 1e-4);
  EXPECT_DOUBLE_EQ(variance_shift(0.5, 0, 3), 2);
  EXPECT_DOUBLE_EQ(variance_shift(0.5, 2, 4), 3);
  EXPECT_DOUBLE_EQ(variance_shift(0, 7, 1), 1);
  const auto text = [](double p, double var) -> std::string {
    try {
      variance_shift(p, 0, var);
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(text(1, 1), "[drop_order] p must be in [0, 1), got 1");
  EXPECT_EQ(text(NAN, 1), "[drop_order] p must be in [0, 1), got nan");
  EXPECT_EQ(text(0.5, 0), "[drop_order] var must be > 0, got 0");
}

TEST(DropOrder, DropoutBeforeABatchNormIsNamedAndMeasured) {
  torch::manual_seed(0);
  nn::Sequential net(nn::Linear(64, 64), nn::ReLU(), nn::Dropout(0.5), nn::BatchNorm1d(64), nn::ReLU(), nn::Linear(64, 10));
  const auto rows = rows_of(net, torch::randn({4096, 64}));
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].drop, "2");
  EXPECT_EQ(rows[0].norm, "3");
  EXPECT_EQ(rows[0].p, 0.5);
  // Var of a ReLU of N(0, s^2): mean^2/var = (1/2pi)/(1/2 - 1/2pi) = 0.467, so 2 + 0.467.
  EXPECT_NEAR(rows[0].predicted, 2 + 0.467, 0.1);
  // 4096 x 64 values: the ratio's standard error is below 1 %.
  EXPECT_NEAR(rows[0].measured / rows[0].predicted, 1, 0.05);
  EXPECT_EQ(rows[0].text.find("[dropout] 2 (p 0.5) feeds 3: variance in training 2."), 0u) << rows[0].text;
}

TEST(DropOrder, SeesThroughActivationAndConvolution) {
  torch::manual_seed(0);
  nn::Sequential net(nn::Dropout2d(0.3), nn::ReLU(), nn::Conv2d(nn::Conv2dOptions(8, 16, 3).padding(1).bias(false)), nn::BatchNorm2d(16), nn::ReLU(),
                     nn::Conv2d(16, 8, 3), nn::BatchNorm2d(8));
  const auto rows = rows_of(net, torch::randn({256, 8, 6, 6}));
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].norm, "3");
  EXPECT_NEAR(rows[0].predicted, 1 / 0.7, 0.02);
  EXPECT_GT(rows[0].measured, 1.3);
}

TEST(DropOrder, SilentWhereItDoesNoHarm) {
  torch::manual_seed(0);
  const torch::Tensor x = torch::randn({64, 32});
  nn::Sequential last(nn::Linear(32, 32), nn::BatchNorm1d(32), nn::ReLU(), nn::Dropout(0.5), nn::Linear(32, 10));
  EXPECT_TRUE(rows_of(last, x).empty());
  nn::Sequential group(nn::Linear(32, 32), nn::Dropout(0.5), nn::GroupNorm(4, 32), nn::Linear(32, 10));
  EXPECT_TRUE(rows_of(group, x).empty());
  nn::Sequential alpha(nn::Linear(32, 32), nn::AlphaDropout(0.5), nn::BatchNorm1d(32));
  EXPECT_TRUE(rows_of(alpha, x).empty());
  nn::Sequential none(nn::Linear(32, 32), nn::BatchNorm1d(32));
  EXPECT_TRUE(rows_of(none, x).empty());
  nn::Sequential zero(nn::Linear(32, 32), nn::Dropout(0.0), nn::BatchNorm1d(32));
  EXPECT_TRUE(rows_of(zero, x).empty());
}

TEST(DropOrder, LeavesBuffersFlagsAndGenerator) {
  torch::manual_seed(0);
  nn::Sequential net(nn::Dropout(0.5), nn::BatchNorm1d(16));
  net->eval();
  const torch::Tensor x = torch::randn({64, 16});
  const torch::Tensor mean = net[1]->as<nn::BatchNorm1d>()->running_mean.clone();
  const torch::Tensor state = at::globalContext().defaultGenerator(torch::kCPU).get_state();
  EXPECT_EQ(rows_of(net, x).size(), 1u);
  EXPECT_TRUE(torch::equal(mean, net[1]->as<nn::BatchNorm1d>()->running_mean));
  EXPECT_FALSE(net[0]->is_training() || net[1]->is_training());
  EXPECT_TRUE(torch::equal(state, at::globalContext().defaultGenerator(torch::kCPU).get_state()));
}

}  // namespace
}  // namespace ballast
