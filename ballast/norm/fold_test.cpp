#include <ballast/norm/fold.h>

#include <gtest/gtest.h>
#include <torch/nn/modules/activation.h>

#include <ballast/base/test_message.h>
#include <ballast/norm/test_gradients.h>

namespace ballast {
namespace {

using test::draw;

Norm settled(int64_t channels, NormKind kind = NormKind::batch, Act act = Act::relu) {
  Norm norm(NormOptions{.kind = kind, .channels = channels, .act = act});
  norm->to(torch::kDouble);
  torch::NoGradGuard no_grad;
  norm->weight.copy_(draw({channels}, 1));
  norm->bias.copy_(draw({channels}, 2));
  norm->running_mean.copy_(draw({channels}, 3));
  norm->running_var.copy_(draw({channels}, 4).square() + 0.1);
  norm->eval();
  return norm;
}

template <class Holder>
void expect_folds(Holder layer, const torch::Tensor& x, int64_t channels) {
  layer->to(torch::kDouble);
  torch::NoGradGuard no_grad;
  for (auto& p : layer->parameters()) p.copy_(draw(p.sizes().vec(), 7));
  Norm norm = settled(channels);
  const torch::Tensor y = norm->forward(layer->forward(x));
  fold_(*layer, *norm);
  EXPECT_EQ(norm->options.kind, NormKind::none);
  EXPECT_EQ(norm->options.act, Act::relu);
  EXPECT_TRUE(norm->parameters().empty() && norm->buffers().empty());
  EXPECT_TRUE(layer->bias.defined());
  EXPECT_TRUE(torch::allclose(norm->forward(layer->forward(x)), y, 1e-12, 1e-12)) << layer->name();
}

TEST(Fold, EveryLayerComputesTheSame) {
  using namespace torch::nn;
  torch::manual_seed(1);
  expect_folds(Conv1d(Conv1dOptions(4, 6, 3).groups(2).bias(false)), draw({2, 4, 7}), 6);
  expect_folds(Conv2d(Conv2dOptions(4, 6, 3).padding(1).stride(2)), draw({2, 4, 7, 6}), 6);
  expect_folds(Conv2d(Conv2dOptions(4, 6, 3).groups(2).bias(false)), draw({2, 4, 7, 6}), 6);
  expect_folds(Conv3d(Conv3dOptions(4, 6, 2)), draw({2, 4, 3, 4, 3}), 6);
  expect_folds(ConvTranspose1d(ConvTranspose1dOptions(4, 6, 3)), draw({2, 4, 5}), 6);
  expect_folds(ConvTranspose2d(ConvTranspose2dOptions(4, 6, 3).groups(2).stride(2).bias(false)), draw({2, 4, 3, 4}), 6);
  expect_folds(ConvTranspose3d(ConvTranspose3dOptions(4, 6, 2).groups(2)), draw({2, 4, 3, 2, 2}), 6);
  expect_folds(Linear(LinearOptions(5, 6).bias(false)), draw({3, 5}), 6);
}

TEST(Fold, MakingABiasDrawsNothing) {
  torch::nn::Conv2d conv(torch::nn::Conv2dOptions(2, 3, 3).bias(false));
  conv->to(torch::kDouble);
  torch::manual_seed(5);
  const torch::Tensor untouched = torch::rand({4});
  torch::manual_seed(5);
  fold_(*conv, *settled(3));
  EXPECT_TRUE(torch::equal(torch::rand({4}), untouched));
  EXPECT_EQ(conv->parameters().size(), 2u);
}

TEST(Fold, FrozenNormsFoldInAnyMode) {
  torch::nn::Linear linear(2, 3);
  linear->to(torch::kDouble);
  Norm frozen = settled(3, NormKind::frozen);
  frozen->train();
  const torch::Tensor x = draw({4, 2}), y = frozen->forward(linear->forward(x));
  fold_(*linear, *frozen);
  EXPECT_TRUE(torch::allclose(frozen->forward(linear->forward(x)), y, 1e-12, 1e-12));
}

// conv, norm, relu; a convolution whose result is also a shortcut; norm before a convolution.
struct PairsNet : torch::nn::Module {
  PairsNet() {
    using torch::nn::Conv2dOptions;
    conv1 = register_module("conv1", torch::nn::Conv2d(Conv2dOptions(3, 4, 3).padding(1).bias(false)));
    bn1 = register_module("bn1", settled(4));
    conv2 = register_module("conv2", torch::nn::Conv2d(Conv2dOptions(4, 4, 3).padding(1)));
    bn2 = register_module("bn2", settled(4));
    conv3 = register_module("conv3", torch::nn::Conv2d(Conv2dOptions(4, 4, 3).padding(1)));
    bn3 = register_module("bn3", settled(4, NormKind::batch, Act::none));
    to(torch::kDouble);
    eval();
  }
  torch::Tensor forward(const torch::Tensor& x) {
    const torch::Tensor a = bn1->forward(conv1->forward(x));
    const torch::Tensor b = conv2->forward(a);
    return conv3->forward(bn2->forward(b)) + bn3->forward(b + a);
  }
  torch::nn::Conv2d conv1{nullptr}, conv2{nullptr}, conv3{nullptr};
  Norm bn1{nullptr}, bn2{nullptr}, bn3{nullptr};
};

TEST(Fold, OfAModelOnlyWhatIsReadByItsNormAlone) {
  PairsNet net;
  torch::NoGradGuard no_grad;
  const torch::Tensor x = draw({2, 3, 5, 5}), y = net.forward(x);
  const auto forward = [&](const torch::Tensor& in) { return net.forward(in); };
  EXPECT_EQ(fold_model_(net, forward, x), 1);
  EXPECT_EQ(net.bn1->options.kind, NormKind::none);
  EXPECT_EQ(net.bn2->options.kind, NormKind::batch);  // its input is also added
  EXPECT_EQ(net.bn3->options.kind, NormKind::batch);  // its input is a sum
  EXPECT_TRUE(torch::allclose(net.forward(x), y, 1e-11, 1e-11));
  EXPECT_EQ(fold_model_(net, forward, x), 0);
}

TEST(Fold, ErrorsNameWhatIsRequiredAndChangeNothing) {
  torch::nn::Conv2d conv(torch::nn::Conv2dOptions(2, 64, 1));
  const torch::Tensor before = conv->weight.clone();
  Norm training(NormOptions{.channels = 64});
  EXPECT_EQ(message_of([&] { fold_(*conv, *training); }), "[fold] norm must be in eval mode, got training");
  Norm narrow(NormOptions{.channels = 32});
  narrow->eval();
  EXPECT_EQ(message_of([&] { fold_(*conv, *narrow); }), "[fold] channels must match, got 64 and 32");
  Norm group(NormOptions{.kind = NormKind::group, .channels = 64});
  EXPECT_EQ(message_of([&] { fold_(*conv, *group); }), "[fold] norm must be a batch norm, got group");
  torch::nn::ReLU relu;
  training->eval();
  EXPECT_EQ(message_of([&] { fold_(*relu, *training); }),
            "[fold] layer must be a convolution or linear, got torch::nn::ReLUImpl");
  EXPECT_TRUE(torch::equal(conv->weight, before));
  EXPECT_EQ(training->options.kind, NormKind::batch);
}

}  // namespace
}  // namespace ballast
