#include <ballast/weights/freeze.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/linear.h>
#include <torch/optim/sgd.h>

#include <ballast/drop/dropout.h>
#include <ballast/models/model.h>
#include <ballast/weights/state_dict.h>
#include <ballast/weights/test_weights.h>

namespace ballast {
namespace {

using testing::ThrowsMessage;

TEST(Freeze, AFrozenPartStaysBitEqualWhileTheRestTrains) {
  const auto model = resnet8(1);
  const FreezeReport report = freeze(*model, {"conv1.*", "bn1.*", "layer1.*"});
  std::map<std::string, torch::Tensor> before;
  for (const auto& [name, tensor] : state_dict(*model)) before[name] = tensor.clone();
  model->train();
  keep_frozen(*model, report);
  std::vector<torch::Tensor> trained;
  for (const auto& p : model->parameters()) {
    if (p.requires_grad()) trained.push_back(p);
  }
  torch::optim::SGD sgd(trained, torch::optim::SGDOptions(0.1).momentum(0.9).weight_decay(1e-2));
  for (int step = 0; step < 10; ++step) {
    sgd.zero_grad();
    torch::nll_loss(torch::log_softmax(model->forward(torch::randn({8, 3, 32, 32})), 1), torch::arange(8)).backward();
    sgd.step();
  }
  int frozen = 0, moved = 0;
  for (const auto& [name, tensor] : state_dict(*model)) {
    const bool still = name.starts_with("conv1.") || name.starts_with("bn1.") || name.starts_with("layer1.");
    if (still) {
      ++frozen;
      EXPECT_TRUE(torch::equal(tensor, before.at(name))) << name;
    } else {
      moved += !torch::equal(tensor, before.at(name));
    }
  }
  EXPECT_EQ(frozen, 18);  // 3 convolutions, 3 norms of 5
  EXPECT_GT(moved, 20);
  EXPECT_EQ(report.parameters.size(), 9U);
  EXPECT_EQ(report.layers.size(), 3U);
}

TEST(Freeze, UnfreezeTakesEverythingBack) {
  const auto model = resnet8(1);
  model->train();
  const auto flags = [&] {
    std::vector<bool> all;
    for (const auto& p : model->parameters()) all.push_back(p.requires_grad());
    for (const auto& m : model->modules()) all.push_back(m->is_training());
    return all;
  };
  const std::vector<bool> before = flags();
  const FreezeReport report = freeze(*model, {"*"});
  EXPECT_NE(flags(), before);
  unfreeze(*model, report);
  EXPECT_EQ(flags(), before);
  // What was frozen before is not woken.
  freeze(*model, {"fc.*"});
  const FreezeReport second = freeze(*model, {"fc.*", "conv1.*"});
  EXPECT_EQ(second.parameters, std::vector<std::string>{"conv1.weight"});
  unfreeze(*model, second);
  EXPECT_FALSE(model->named_parameters()["fc.weight"].requires_grad());
}

TEST(Freeze, ANormIsFrozenWithItsNameOrAllItsParameters) {
  const auto layers = [](std::vector<std::string> globs) {
    std::vector<std::string> names;
    for (const FrozenLayer& layer : freeze(*resnet8(1), globs).layers) names.push_back(layer.name);
    return names;
  };
  EXPECT_THAT(layers({"bn1.*"}), testing::ElementsAre("bn1"));
  EXPECT_THAT(layers({"bn1.weight"}), testing::IsEmpty());
  EXPECT_THAT(layers({"layer2.0.bn?.*"}), testing::ElementsAre("layer2.0.bn1", "layer2.0.bn2"));
  torch::nn::Sequential foreign(torch::nn::Conv2d(3, 4, 3), torch::nn::BatchNorm2d(4), torch::nn::Dropout());
  const FreezeReport report = freeze(*foreign, {"*"});
  ASSERT_EQ(report.layers.size(), 2U);
  EXPECT_FALSE(foreign[2]->is_training());
}

TEST(Freeze, AFrozenDropIsTheIdentityEvenWhereItAlwaysDrops) {
  Dropout drop(DropoutOptions{.p = 0.5});
  drop->set_mode(DropMode::always);
  torch::nn::Sequential net(torch::nn::Linear(4, 4), drop);
  const torch::Tensor x = torch::ones({64, 4});
  const FreezeReport report = freeze(*net, {"*"});
  net->train();
  keep_frozen(*net, report);
  EXPECT_TRUE(torch::equal(net->forward(x), net[0]->as<torch::nn::Linear>()->forward(x)));
  unfreeze(*net, report);
  EXPECT_GT((net->forward(x) == 0).sum().item<int64_t>(), 0);
}

TEST(Freeze, AGlobThatMatchesNothingIsRefusedAndChangesNothing) {
  const auto model = resnet8(1);
  EXPECT_THAT([&] { freeze(*model, {"conv1.*", "layer9.*"}); },
              ThrowsMessage<std::invalid_argument>("[weights] layer9.* must match a parameter, got none"));
  for (const auto& p : model->parameters()) EXPECT_TRUE(p.requires_grad());
  EXPECT_THAT([&] { unfreeze(*model, {.parameters = {"x"}}); },
              ThrowsMessage<std::invalid_argument>("[weights] report must belong to this model, got a parameter x that it lacks"));
}

}  // namespace
}  // namespace ballast
