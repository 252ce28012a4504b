#include <ballast/drop/mc_dropout.h>

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>

#include <ballast/base/test_message.h>
#include <ballast/drop/dropout.h>
#include <ballast/drop/test_drop.h>

namespace ballast {
namespace {

using namespace test;

TEST(McDropout, PassesDifferNormsStayAndModesComeBack) {
  torch::nn::Sequential model(torch::nn::Linear(4, 6), torch::nn::BatchNorm1d(6), Dropout(), Dropout(), torch::nn::Linear(6, 2));
  name_layers(*model);
  model->to(torch::kDouble);
  model->train();
  model->at<DropoutImpl>(3).set_mode(DropMode::never);
  model->ptr(4)->eval();
  const torch::Tensor x = draw({5, 4});
  {
    McDropout mc(*model);
    EXPECT_EQ(mc.layers(), 1);
    EXPECT_FALSE(model->ptr(1)->is_training());
    const auto forward = [&] { return model->forward(x); };
    const torch::Tensor a = mc.pass(0, Key(1), forward), b = mc.pass(1, Key(1), forward);
    EXPECT_FALSE(torch::equal(a, b));
    EXPECT_TRUE(torch::equal(a, mc.pass(0, Key(1), forward)));
    EXPECT_FALSE(a.requires_grad());
    // A part of the batch draws the masks of its rows.
    EXPECT_TRUE(torch::allclose(mc.pass(0, Key(1), [&] { return model->forward(x.slice(0, 2)); }, 2), a.slice(0, 2), 1e-12, 1e-12));
  }
  EXPECT_TRUE(model->ptr(1)->is_training());
  EXPECT_TRUE(model->ptr(2)->is_training());
  EXPECT_FALSE(model->ptr(4)->is_training());
  EXPECT_EQ(model->at<DropoutImpl>(2).mode(), DropMode::train_only);
  EXPECT_EQ(model->at<DropoutImpl>(3).mode(), DropMode::never);
}

TEST(McDropout, VarianceOfALinearModelIsTheFormulas) {
  torch::nn::Sequential model(Dropout(DropoutOptions{.p = 0.25}));
  const torch::Tensor w = draw({6}, 1), x = draw({1, 6});
  McDropout mc(*model);
  std::vector<torch::Tensor> passes;
  const int64_t count = 20'000;
  for (int64_t t = 0; t < count; ++t) passes.push_back(mc.pass(t, Key(3), [&] { return model->forward(x).matmul(w); }));
  const torch::Tensor y = torch::cat(passes);
  const double s2 = (0.25 / 0.75 * (w * w * x * x).sum()).item<double>();
  const double fourth = ((y - y.mean()).pow(4).mean() / (s2 * s2)).item<double>();
  EXPECT_LE(std::abs(y.var().item<double>() / s2 - 1), 5 * std::sqrt((fourth - 1) / static_cast<double>(count)));
}

TEST(McDropout, SummaryByHand) {
  const torch::Tensor p = torch::tensor({{{1.0, 0.0}}, {{0.0, 1.0}}}, torch::kDouble);
  const McSummary s = summarize_passes(p);
  EXPECT_TRUE(torch::equal(s.mean, torch::full({1, 2}, 0.5, torch::kDouble)));
  EXPECT_TRUE(torch::equal(s.variance, torch::full({1, 2}, 0.25, torch::kDouble)));
  EXPECT_NEAR(s.mutual_information.item<double>(), std::log(2.0), 1e-15);
  EXPECT_EQ(message_of([] { summarize_passes(torch::ones({2, 3})); }), "[mc_dropout] probabilities must be (T, N, K) with T >= 1, got (2, 3)");
}

}  // namespace
}  // namespace ballast
