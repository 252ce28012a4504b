#include <ballast/norm/convert.h>

#include <torch/nn/modules/batchnorm.h>
#include <torch/optim/sgd.h>

#include <gtest/gtest.h>

#include <ballast/base/test_message.h>
#include <ballast/norm/test_gradients.h>

namespace ballast {
namespace {

using test::draw;

struct Net : torch::nn::Module {
  explicit Net(NormKind kind = NormKind::batch) {
    bn1 = register_module("bn1", Norm(NormOptions{.kind = kind, .channels = 8, .act = Act::relu, .momentum = 0.3}));
    bn2 = register_module("bn2", Norm(NormOptions{.kind = kind, .channels = 8, .eps = 1e-3}));
  }
  torch::Tensor forward(const torch::Tensor& x) { return bn2->forward(bn1->forward(x)); }
  Norm bn1{nullptr}, bn2{nullptr};
};

torch::Tensor input() { return draw({4, 8, 3, 5}).to(torch::kFloat); }

std::map<std::string, torch::Tensor> copy_of(const torch::nn::Module& module) {
  std::map<std::string, torch::Tensor> copy;
  for (const auto& [name, t] : test::tensors_of(module)) copy.emplace(name, t.clone());
  return copy;
}

void expect_state(const torch::nn::Module& module, const std::map<std::string, torch::Tensor>& expected) {
  const auto now = test::tensors_of(module);
  ASSERT_EQ(now.size(), expected.size());
  for (const auto& [name, t] : expected) {
    ASSERT_TRUE(now.count(name)) << name;
    EXPECT_TRUE(torch::equal(now.at(name), t)) << name;
  }
}

const std::vector<NormKind> kKinds = {NormKind::frozen, NormKind::sync,  NormKind::split,  NormKind::group,
                                      NormKind::layer,  NormKind::instance, NormKind::rms, NormKind::frn,
                                      NormKind::evo_b0, NormKind::evo_s0, NormKind::none};

TEST(Convert, ThereAndBackRestoresEveryBitOptionsAndModes) {
  for (NormKind kind : kKinds) {
    SCOPED_TRACE(norm_name(kind));
    Net net;
    for (int i = 0; i < 3; ++i) net.forward(input() + i);
    net.bn2->eval();
    const auto before = copy_of(net);
    const NormOptions first = net.bn1->options, second = net.bn2->options;
    std::vector<const void*> identities;
    for (const torch::Tensor& p : net.parameters()) identities.push_back(p.unsafeGetTensorImpl());
    const ConvertReport report = convert_norm_(net, NormOptions{.kind = kind});
    ASSERT_EQ(report.rows.size(), 2u);
    EXPECT_EQ(report.rows[0].name, "bn1");
    EXPECT_EQ(net.bn1->options.kind, kind);
    EXPECT_EQ(net.bn1->options.act, Act::relu);
    net.eval();
    net.forward(input());
    restore_norm_(net, report);
    expect_state(net, before);
    EXPECT_TRUE(net.bn1->options == first);
    EXPECT_TRUE(net.bn2->options == second);
    EXPECT_TRUE(net.bn1->is_training());
    EXPECT_FALSE(net.bn2->is_training());
    std::vector<const void*> now;
    for (const torch::Tensor& p : net.parameters()) {
      now.push_back(p.unsafeGetTensorImpl());
      EXPECT_TRUE(p.requires_grad());
    }
    EXPECT_EQ(now, identities);
    net.train();
    net.forward(input());
    EXPECT_EQ(net.bn1->num_batches_tracked.item<int64_t>(), 4);
  }
}

TEST(Convert, RowsSayWhetherTheFunctionIsTheSameAndItIs) {
  for (bool training : {true, false}) {
    for (NormKind kind : {NormKind::frozen, NormKind::sync, NormKind::group}) {
      Net net, same;
      for (int i = 0; i < 3; ++i) {
        net.forward(input() + i);
        same.forward(input() + i);
      }
      net.train(training);
      same.train(training);
      const ConvertReport report = convert_norm_(net, NormOptions{.kind = kind, .eps = 1e-5});
      const bool expected = kind == NormKind::sync || (kind == NormKind::frozen && !training);
      EXPECT_EQ(report.rows[0].same_function, expected) << norm_name(kind);
      EXPECT_EQ(report.rows[0].note, expected ? "same function" : "needs training");
      EXPECT_EQ(torch::allclose(net.bn1->forward(input()), same.bn1->forward(input()), 1e-5, 1e-6), expected)
          << norm_name(kind) << training;
    }
  }
}

TEST(Convert, FrozenBuffersStayAndTheOptimizersParametersGoOn) {
  Net net;
  torch::optim::SGD sgd(net.parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
  const auto step = [&] {
    sgd.zero_grad();
    torch::Tensor x = input().requires_grad_();
    net.forward(x).square().sum().backward();
    sgd.step();
  };
  step();
  const ConvertReport report = convert_norm_(net, NormOptions{.kind = NormKind::frozen});
  EXPECT_TRUE(net.parameters().empty());
  sgd.zero_grad();
  const auto frozen = copy_of(net);
  torch::Tensor x = input().requires_grad_();
  net.forward(x).square().sum().backward();
  EXPECT_TRUE(x.grad().defined());
  expect_state(net, frozen);
  restore_norm_(net, report);
  const torch::Tensor weight = net.bn1->weight.detach().clone();
  step();
  EXPECT_FALSE(torch::equal(net.bn1->weight, weight));
}

TEST(Convert, SplitPartsStartAsCopiesOfTheFirst) {
  Net net;
  net.forward(input());
  convert_norm_(net, NormOptions{.kind = NormKind::split, .splits = 3});
  const auto state = test::tensors_of(net);
  for (const char* leaf : {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}) {
    for (const char* part : {"aux_bn.0.", "aux_bn.1."}) {
      EXPECT_TRUE(torch::equal(state.at(std::string("bn1.") + part + leaf), state.at(std::string("bn1.") + leaf))) << leaf;
    }
  }
}

TEST(Convert, TheFilterChoosesAndGroupsFitTheChannels) {
  Net net;
  const ConvertReport report = convert_norm_(net, NormOptions{.kind = NormKind::group},
                                             [](const std::string& name) { return name == "bn2"; });
  EXPECT_EQ(report.rows.size(), 1u);
  EXPECT_EQ(net.bn1->options.kind, NormKind::batch);
  EXPECT_EQ(net.bn2->options.groups, 8);
}

TEST(Convert, ErrorsNameWhatIsRequiredAndChangeNothing) {
  struct Other : torch::nn::Module {
    Other() { register_module("bn1", torch::nn::BatchNorm2d(3)); }
  } other;
  EXPECT_EQ(message_of([&] { convert_norm_(other, NormOptions{.kind = NormKind::group}); }),
            "[convert] model must hold ballast norms, got torch::nn::BatchNorm2d at bn1");
  Net net, larger;
  const auto before = copy_of(net);
  EXPECT_EQ(message_of([&] { convert_norm_(net, NormOptions{.kind = NormKind::group, .groups = 3}); }),
            "[group_norm] num_groups must divide channels, got 3 and 8");
  expect_state(net, before);
  larger.register_module("bn3", Norm(NormOptions{.channels = 8}));
  const ConvertReport report = convert_norm_(larger, NormOptions{.kind = NormKind::group});
  EXPECT_EQ(message_of([&] { restore_norm_(net, report); }),
            "[convert] report must belong to this model, got 3 rows for 2 norms");
  expect_state(net, before);
}

}  // namespace
}  // namespace ballast
