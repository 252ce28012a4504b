#include <ballast/train/swa.h>

#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/linear.h>

namespace ballast {
namespace {

// By hand: the mean of 1, 4 and 7.
TEST(Swa, IsTheMeanOfTheWeights) {
  torch::nn::Linear layer(2, 1);
  Swa swa(*layer);
  torch::NoGradGuard no_grad;
  for (const double v : {1.0, 4.0, 7.0}) {
    layer->weight.fill_(v);
    layer->bias.fill_(-v);
    swa.update();
  }
  EXPECT_EQ(swa.n(), 3);
  EXPECT_TRUE(at::allclose(swa.averages().at("weight"), torch::full({1, 2}, 4.0)));
  EXPECT_TRUE(at::allclose(swa.averages().at("bias"), torch::full({1}, -4.0)));
}

TEST(Swa, BuffersAreTheLast) {
  torch::nn::BatchNorm1d norm(3);
  Swa swa(*norm);
  torch::NoGradGuard no_grad;
  for (const double v : {1.0, 3.0}) {
    norm->weight.fill_(v);
    norm->running_mean.fill_(v);
    norm->num_batches_tracked.fill_(static_cast<int64_t>(v));
    swa.update();
  }
  EXPECT_EQ(swa.averages().at("weight")[0].item<double>(), 2);
  EXPECT_EQ(swa.averages().at("running_mean")[0].item<double>(), 3);
  EXPECT_EQ(swa.averages().at("num_batches_tracked").item<int64_t>(), 3);
}

// Against the mean in float64 of 100 random weights.
TEST(Swa, AgreesWithTheMeanInDouble) {
  torch::nn::Linear layer(8, 8);
  Swa swa(*layer);
  torch::NoGradGuard no_grad;
  torch::Tensor sum = torch::zeros({8, 8}, torch::kDouble);
  torch::manual_seed(1);
  for (int i = 0; i < 100; ++i) {
    layer->weight.normal_();
    swa.update();
    sum += layer->weight.to(torch::kDouble);
  }
  EXPECT_LT((swa.averages().at("weight").to(torch::kDouble) - sum / 100).abs().max().item<double>(), 1e-6);
}

TEST(Swa, RestoreGoesOnWithTheSameBits) {
  torch::nn::Linear layer(4, 4), other(4, 4);
  torch::NoGradGuard no_grad;
  Swa whole(*layer);
  for (int i = 0; i < 3; ++i) {
    layer->weight.normal_();
    whole.update();
  }
  Swa resumed(*layer);
  StateDict saved;
  for (const auto& [name, tensor] : whole.averages()) saved.emplace(name, tensor.clone());
  resumed.restore(whole.n(), saved, "test");
  layer->weight.normal_();
  whole.update();
  resumed.update();
  EXPECT_TRUE(whole.averages().at("weight").equal(resumed.averages().at("weight")));
}

}  // namespace
}  // namespace ballast
