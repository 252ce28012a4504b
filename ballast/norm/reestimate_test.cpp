#include <ballast/norm/reestimate.h>

#include <torch/nn/modules/batchnorm.h>

#include <gtest/gtest.h>

#include <ballast/base/test_message.h>
#include <ballast/norm/norm.h>
#include <ballast/norm/test_gradients.h>

namespace ballast {
namespace {

using test::draw;

struct TwoNorms : torch::nn::Module {
  TwoNorms() {
    bn1 = register_module("bn1", BatchNorm(BatchNormOptions{.num_features = 3}));
    bn2 = register_module("bn2", Norm(NormOptions{.channels = 3, .act = Act::relu}));
    to(torch::kDouble);
  }
  torch::Tensor forward(const torch::Tensor& x) { return bn2->forward(bn1->forward(x) * 2 + 1); }
  BatchNorm bn1{nullptr};
  Norm bn2{nullptr};
};

std::function<std::optional<torch::Tensor>()> batches_of(std::vector<torch::Tensor> list) {
  return [list = std::move(list), i = size_t{0}]() mutable -> std::optional<torch::Tensor> {
    if (i == list.size()) return std::nullopt;
    return list[i++];
  };
}

TEST(Reestimate, TheVarianceOfTheMeansCounts) {
  BatchNorm norm(BatchNormOptions{.num_features = 1});
  norm->to(torch::kDouble);
  const auto zeros = torch::zeros({8, 1}, torch::kDouble), ones = torch::ones({8, 1}, torch::kDouble);
  const auto forward = [&](const torch::Tensor& x) { return norm->forward(x); };
  EXPECT_EQ(reestimate(*norm, forward, batches_of({zeros, ones})), 2);
  EXPECT_NEAR(norm->running_var.item<double>(), 4.0 / 15, 1e-14);
  EXPECT_NEAR(norm->running_mean.item<double>(), 0.5, 1e-14);
}

TEST(Reestimate, UnequalBatchesGiveTheStatisticsOfAllData) {
  TwoNorms net;
  const torch::Tensor x = draw({13, 3, 4, 4}) * 3 + 20;
  net.train();
  net.forward(x.narrow(0, 0, 4));
  std::map<std::string, torch::Tensor> before;
  for (const auto& [name, t] : test::tensors_of(net)) before.emplace(name, t.clone());
  const int64_t tracked = net.bn1->num_batches_tracked.item<int64_t>();
  net.bn2->eval();
  reestimate(net, [&](const torch::Tensor& b) { return net.forward(b); },
             batches_of({x.narrow(0, 0, 2), x.narrow(0, 2, 10), x.narrow(0, 12, 1)}));
  EXPECT_TRUE(torch::allclose(net.bn1->running_mean, x.mean({0, 2, 3}), 1e-12, 1e-12));
  EXPECT_TRUE(torch::allclose(net.bn1->running_var, x.transpose(0, 1).flatten(1).var(1, true), 1e-12, 1e-12));
  EXPECT_EQ(net.bn1->num_batches_tracked.item<int64_t>(), tracked);
  EXPECT_TRUE(net.is_training());
  EXPECT_TRUE(net.bn1->is_training());
  EXPECT_FALSE(net.bn2->is_training());
  for (const auto& [name, t] : test::tensors_of(net)) {
    if (name.find("running") != std::string::npos) continue;
    EXPECT_TRUE(torch::equal(t, before.at(name))) << name;
  }
}

TEST(Reestimate, TheSecondLayerSeesABatchNormalizedByTheFirst) {
  TwoNorms net;
  net.bn1->running_mean.fill_(100);  // stale: must not matter
  const torch::Tensor x = draw({6, 3, 4, 4});
  reestimate(net, [&](const torch::Tensor& b) { return net.forward(b); }, batches_of({x}));
  EXPECT_TRUE(torch::allclose(net.bn2->running_mean, torch::ones({3}, torch::kDouble), 1e-9, 1e-9));
}

TEST(Reestimate, FrozenNormsAndTheRestOfTheBatchesAreLeftAlone) {
  Norm frozen(NormOptions{.kind = NormKind::frozen, .channels = 3});
  int asked = 0;
  reestimate(*frozen, [&](const torch::Tensor& x) { return frozen->forward(x); },
             [&]() -> std::optional<torch::Tensor> {
               ++asked;
               return torch::ones({2, 3});
             },
             {.max_batches = 3});
  EXPECT_EQ(asked, 3);
  EXPECT_EQ(frozen->running_mean.abs().max().item<float>(), 0);
}

TEST(Reestimate, AfterAnErrorNothingHasChanged) {
  TwoNorms net;
  net.train();
  const torch::Tensor mean = net.bn1->running_mean.clone();
  int calls = 0;
  EXPECT_EQ(message_of<std::runtime_error>([&] {
              reestimate(net,
                         [&](const torch::Tensor& b) -> torch::Tensor {
                           if (++calls == 2) throw std::runtime_error("stop");
                           return net.forward(b);
                         },
                         batches_of({draw({4, 3}), draw({4, 3})}));
            }),
            "stop");
  EXPECT_TRUE(torch::equal(net.bn1->running_mean, mean));
  EXPECT_TRUE(net.bn2->is_training());
  net.forward(draw({4, 3}));  // no observer is left: training updates again
  EXPECT_FALSE(torch::equal(net.bn1->running_mean, mean));
}

TEST(NormDrift, IsTheDistanceInStandardDeviationsAndTheFactorBetweenThem) {
  BatchNorm norm(BatchNormOptions{.num_features = 2});
  norm->to(torch::kDouble);
  norm->running_mean.copy_(torch::tensor({1.0, 2.0}, torch::kDouble));
  norm->running_var.copy_(torch::tensor({4.0, 9.0}, torch::kDouble));
  const torch::Tensor x = draw({500, 2});
  const torch::Tensor mean = x.mean(0), var = x.var(0, true);
  const auto forward = [&](const torch::Tensor& b) { return norm->forward(b); };
  const auto drifts = norm_drift(*norm, forward, batches_of({x.narrow(0, 0, 100), x.narrow(0, 100, 400)}));
  ASSERT_EQ(drifts.size(), 1);
  EXPECT_EQ(drifts[0].layer, "");
  double shift = 0, scale = 0;
  for (int c = 0; c < 2; ++c) {
    const double running = norm->running_var[c].item<double>() + 1e-5;
    shift += std::pow(mean[c].item<double>() - norm->running_mean[c].item<double>(), 2) / running / 2;
    scale += std::pow(std::log((var[c].item<double>() + 1e-5) / running) / 2, 2) / 2;
  }
  EXPECT_NEAR(drifts[0].shift, std::sqrt(shift), 1e-12);
  EXPECT_NEAR(drifts[0].scale, std::exp(std::sqrt(scale)), 1e-12);
}

TEST(NormDrift, IsNoneAfterReestimateAndChangesNothing) {
  TwoNorms net;
  const torch::Tensor x = draw({32, 3, 4, 4}) * 3 + 20;
  const auto forward = [&](const torch::Tensor& b) { return net.forward(b); };
  const auto before = norm_drift(net, forward, batches_of({x}));
  ASSERT_EQ(before.size(), 2);
  EXPECT_EQ(before[0].layer, "bn1");
  EXPECT_EQ(before[1].layer, "bn2");
  EXPECT_GT(before[0].shift, 10);  // running statistics are 0 and 1
  EXPECT_EQ(net.bn1->running_mean.abs().max().item<double>(), 0);
  EXPECT_TRUE(net.is_training());
  reestimate(net, forward, batches_of({x}));
  for (const NormDrift& drift : norm_drift(net, forward, batches_of({x}))) {
    EXPECT_NEAR(drift.shift, 0, 1e-12) << drift.layer;
    EXPECT_NEAR(drift.scale, 1, 1e-12) << drift.layer;
  }
}

TEST(Reestimate, ErrorsNameWhatIsRequired) {
  TwoNorms net;
  const auto forward = [&](const torch::Tensor& b) { return net.forward(b); };
  EXPECT_EQ(message_of([&] { reestimate(net, forward, batches_of({})); }), "[reestimate] at least 1 batch is needed, got 0");
  EXPECT_EQ(message_of([&] { reestimate(net, forward, batches_of({}), {.max_batches = 0}); }),
            "[reestimate] max_batches must be >= 1, got 0");
  struct Other : torch::nn::Module {
    Other() { register_module("bn1", torch::nn::BatchNorm2d(3)); }
  } other;
  EXPECT_EQ(message_of([&] { reestimate(other, forward, batches_of({})); }),
            "[reestimate] model must hold ballast norms, got torch::nn::BatchNorm2d at bn1");
}

}  // namespace
}  // namespace ballast
