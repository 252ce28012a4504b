#include <ballast/norm/weight_norm.h>

#include <gtest/gtest.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/container/sequential.h>

#include <cmath>

#include <ballast/base/test_message.h>
#include <ballast/norm/test_gradients.h>

namespace ballast {
namespace {

using test::draw;

TEST(WeightNorm, ByHand) {
  const torch::Tensor v = torch::tensor({{3.0, 4.0}, {0.0, 0.0}}, torch::kDouble);
  const torch::Tensor g = torch::tensor({{10.0}, {2.0}}, torch::kDouble);
  EXPECT_TRUE(torch::allclose(weight_norm(v, g), torch::tensor({{6.0, 8.0}, {0.0, 0.0}}, torch::kDouble)));
  EXPECT_TRUE(torch::allclose(weight_norm(v, torch::tensor(10.0, torch::kDouble), {.dim = std::nullopt}),
                              torch::tensor({{6.0, 8.0}, {0.0, 0.0}}, torch::kDouble)));
  EXPECT_TRUE(torch::allclose(weight_norm(v, torch::tensor({{6.0, 2.0}}, torch::kDouble), {.dim = 1}),
                              torch::tensor({{6.0, 2.0}, {0.0, 0.0}}, torch::kDouble)));
}

TEST(WeightNorm, EqualsLibTorchsOwn) {
  for (int64_t dim : {0, 3}) {
    const torch::Tensor v = draw({5, 3, 2, 4});
    const torch::Tensor g = draw(dim == 0 ? std::vector<int64_t>{5, 1, 1, 1} : std::vector<int64_t>{1, 1, 1, 4}, 2);
    EXPECT_TRUE(torch::allclose(weight_norm(v, g, {.dim = dim}), at::_weight_norm(v, g, dim), 1e-12, 1e-13));
    EXPECT_TRUE(torch::allclose(weight_norm(v, g, {.dim = dim - 4}), at::_weight_norm(v, g, dim), 1e-12, 1e-13));
  }
}

TEST(WeightNorm, LengthOfVDoesNotCount) {
  const torch::Tensor v = draw({5, 3, 2, 4}), g = draw({5, 1, 1, 1}, 2);
  EXPECT_TRUE(torch::allclose(weight_norm(v * 3, g), weight_norm(v, g), 1e-12, 1e-13));
}

TEST(WeightNorm, GradientsAreThoseOfDifferences) {
  test::expect_gradients([](const test::Inputs& x) { return weight_norm(x[0], x[1]); }, {draw({3, 2, 2}), draw({3, 1, 1}, 2)});
  test::expect_gradients([](const test::Inputs& x) { return weight_norm(x[0], x[1], {.dim = std::nullopt}); },
                         {draw({3, 4}), draw({}, 2)});
}

TEST(WeightNorm, AZeroFilterHasFiniteGradients) {
  torch::Tensor v = torch::zeros({2, 3}).requires_grad_(), g = torch::ones({2, 1}).requires_grad_();
  weight_norm(v, g).sum().backward();
  EXPECT_TRUE(v.grad().isfinite().all().item<bool>());
  EXPECT_EQ(g.grad().abs().max().item<float>(), 0);
}

TEST(WeightNorm, HalfTypesAreComputedInFloat) {
  const torch::Tensor v = draw({4, 300}).to(torch::kBFloat16), g = draw({4, 1}, 2).to(torch::kBFloat16);
  const torch::Tensor exact = weight_norm(v.to(torch::kDouble), g.to(torch::kDouble));
  const torch::Tensor y = weight_norm(v, g);
  EXPECT_EQ(y.scalar_type(), torch::kBFloat16);
  EXPECT_TRUE(torch::allclose(y.to(torch::kDouble), exact, 1.0 / 128, 1e-4));
}

TEST(WeightNorm, ErrorsNameWhatIsRequired) {
  EXPECT_EQ(message_of([] { weight_norm(draw({8, 3, 2, 2}), draw({8}), {.dim = 4}); }),
            "[weight_norm] dim must be in [-4, 3], got 4");
  EXPECT_EQ(message_of([] { weight_norm(draw({8, 3, 2, 2}), draw({8})); }),
            "[weight_norm] g must have shape (8, 1, 1, 1), got (8)");
  EXPECT_EQ(message_of([] { weight_norm(torch::ones({2, 2}, torch::kLong), draw({2, 1})); }),
            "[weight_norm] v must be floating point, got Long");
  EXPECT_EQ(message_of([] { WeightNormConv2d(Conv2dLayerOptions{.in_channels = 3, .out_channels = 4, .groups = 2}); }),
            "[parametrization] groups must divide in_channels and out_channels, got 2, 3 and 4");
}

TEST(WeightNorm, LayersHavePyTorchsNamesAndShapes) {
  WeightNormConvTranspose2d layer(ConvTranspose2dLayerOptions{.in_channels = 4, .out_channels = 6, .kernel_size = {3, 2}, .groups = 2});
  const auto state = test::tensors_of(*layer);
  ASSERT_EQ(state.size(), 3u);
  EXPECT_EQ(state.at("parametrizations.weight.original0").sizes(), (std::vector<int64_t>{4, 1, 1, 1}));
  EXPECT_EQ(state.at("parametrizations.weight.original1").sizes(), (std::vector<int64_t>{4, 3, 3, 2}));
  EXPECT_EQ(state.at("bias").sizes(), (std::vector<int64_t>{6}));
  EXPECT_EQ(layer->parameters().size(), 3u);  // so an optimizer sees each once
}

TEST(WeightNorm, ANewLayerIsThePlainOneAndRemoveGivesTheEffectiveWeight) {
  const torch::Tensor x = draw({2, 4, 5, 6}).to(torch::kFloat);
  WeightNormConv2d conv(Conv2dLayerOptions{.in_channels = 4, .out_channels = 6, .stride = {2, 1}, .padding = {1, 2}, .groups = 2});
  EXPECT_TRUE(torch::allclose(conv->weight(), conv->parametrizations->drawn(), 1e-6, 1e-7));
  torch::manual_seed(3);
  const torch::Tensor untouched = torch::rand({4});
  {
    torch::NoGradGuard no_grad;
    conv->parametrizations->weight->original0.mul_(2.5);
  }
  torch::manual_seed(3);
  const auto plain = conv->remove();
  EXPECT_TRUE(torch::equal(torch::rand({4}), untouched)) << "remove drew from the global generator";
  EXPECT_TRUE(torch::allclose(plain->forward(x), conv->forward(x), 1e-5, 1e-6));
  EXPECT_TRUE(torch::allclose(plain->weight, 2.5 * conv->parametrizations->drawn(), 1e-5, 1e-6));
  EXPECT_TRUE(plain->weight.requires_grad() && plain->weight.is_leaf());

  WeightNormConvTranspose2d up(ConvTranspose2dLayerOptions{.in_channels = 4, .out_channels = 6, .stride = {2, 2}, .output_padding = {1, 0}, .bias = false});
  EXPECT_TRUE(torch::allclose(up->remove()->forward(x), up->forward(x), 1e-5, 1e-6));
  WeightNormLinear linear(LinearLayerOptions{.in_features = 6, .out_features = 3});
  EXPECT_TRUE(torch::allclose(linear->remove()->forward(x), linear->forward(x), 1e-5, 1e-6));
}

TEST(WeightNorm, SameKeySameStartAndOtherKeyAnother) {
  const auto start = [](uint64_t seed) {
    return WeightNormLinear(LinearLayerOptions{.in_features = 50, .out_features = 40, .key = Key(seed)})->weight().detach();
  };
  EXPECT_TRUE(torch::equal(start(1), start(1)));
  EXPECT_FALSE(torch::equal(start(1), start(2)));
  EXPECT_LE(start(1).abs().max().item<double>(), 1.0001 / std::sqrt(50.0));
}

TEST(WeightNorm, ACloneIsIndependentAndEqualAlsoWithinAnotherModule) {
  torch::nn::Sequential net(WeightNormConv2d(Conv2dLayerOptions{.in_channels = 2, .out_channels = 3}),
                            WeightNormLinear(LinearLayerOptions{.in_features = 3, .out_features = 2}));
  net->to(torch::kDouble);
  for (auto& p : net->parameters()) {
    torch::NoGradGuard no_grad;
    p.add_(draw(p.sizes().vec()));
  }
  const auto copy = std::dynamic_pointer_cast<torch::nn::SequentialImpl>(net->clone());
  const torch::Tensor x = draw({1, 2, 3, 5});
  const torch::Tensor y = net->forward(x);
  EXPECT_TRUE(torch::equal(copy->forward(x), y));
  for (auto& p : copy->parameters()) {
    torch::NoGradGuard no_grad;
    p.zero_();
  }
  EXPECT_TRUE(torch::equal(net->forward(x), y));
  EXPECT_EQ(copy->forward(x).abs().max().item<double>(), 0);
}

TEST(WeightNorm, SavesAndLoadsAndReadsOldNames) {
  const auto make = [](uint64_t seed) {
    return WeightNormLinear(LinearLayerOptions{.in_features = 4, .out_features = 3, .key = Key(seed)});
  };
  WeightNormLinear a = make(1), b = make(2);
  {
    torch::NoGradGuard no_grad;
    a->parametrizations->weight->original0.mul_(3);
  }
  test::save_and_load(a.ptr(), b.ptr());
  EXPECT_TRUE(torch::equal(a->weight(), b->weight()));
  EXPECT_TRUE(torch::equal(a->bias, b->bias));

  torch::nn::Module old;
  old.register_parameter("weight_g", draw({3, 1}, 4).to(torch::kFloat));
  old.register_parameter("weight_v", draw({3, 4}, 5).to(torch::kFloat));
  old.register_parameter("bias", draw({3}, 6).to(torch::kFloat));
  std::stringstream stream;
  torch::serialize::OutputArchive out;
  old.save(out);
  out.save_to(stream);
  torch::serialize::InputArchive in;
  in.load_from(stream);
  b->load(in);
  EXPECT_TRUE(torch::equal(b->weight(), weight_norm(old.named_parameters()["weight_v"], old.named_parameters()["weight_g"])));
  EXPECT_TRUE(torch::equal(b->bias, old.named_parameters()["bias"]));
}

TEST(WeightNorm, DataInitNormalizesEveryLayerInOneForward) {
  torch::nn::Sequential net(
      WeightNormConv2d(Conv2dLayerOptions{.in_channels = 3, .out_channels = 8, .padding = {1, 1}, .key = Key(1)}),
      torch::nn::ReLU(), WeightNormConvTranspose2d(ConvTranspose2dLayerOptions{.in_channels = 8, .out_channels = 5, .key = Key(2)}, WeightNormOptions{.dim = 1}),
      torch::nn::ReLU(), WeightNormLinear(LinearLayerOptions{.in_features = 8, .out_features = 6, .key = Key(3)}));
  net->to(torch::kDouble);
  const torch::Tensor x = draw({16, 3, 6, 6}) * 40 - 7;
  int forwards = 0;
  const auto forward = [&](const torch::Tensor& in) {
    ++forwards;
    return net->forward(in);
  };
  EXPECT_EQ(weight_norm_data_init(*net, forward, x), 3);
  EXPECT_EQ(forwards, 1);
  torch::Tensor y = x;
  torch::NoGradGuard no_grad;
  for (size_t i = 0; i < net->size(); ++i) {
    y = net[i]->as<torch::nn::ReLU>() ? y.relu() : i == 0 ? net[i]->as<WeightNormConv2d>()->forward(y)
        : i == 2 ? net[i]->as<WeightNormConvTranspose2d>()->forward(y) : net[i]->as<WeightNormLinear>()->forward(y);
    if (i % 2) continue;
    const torch::Tensor flat = i == 4 ? y.reshape({-1, 6}) : y.transpose(0, 1).flatten(1).t();
    EXPECT_LT(flat.mean(0).abs().max().item<double>(), 1e-9) << i;
    EXPECT_LT((flat.var(0, false) - 1).abs().max().item<double>(), 1e-9) << i;
  }
}

TEST(WeightNorm, DataInitThatFailsChangesNothingAndNamesTheLayer) {
  struct Net : torch::nn::Module {
    Net() {
      conv1 = register_module("conv1", WeightNormConv2d(Conv2dLayerOptions{.in_channels = 1, .out_channels = 4}));
      torch::NoGradGuard no_grad;
      conv1->parametrizations->weight->original0[3] = 0;
    }
    WeightNormConv2d conv1{nullptr};
  } net;
  const auto before = test::tensors_of(net);
  std::map<std::string, torch::Tensor> copy;
  for (const auto& [name, t] : before) copy.emplace(name, t.clone());
  EXPECT_EQ(message_of([&] {
              weight_norm_data_init(net, [&](const torch::Tensor& x) { return net.conv1->forward(x); },
                                    draw({4, 1, 5, 5}).to(torch::kFloat));
            }),
            "[weight_norm] channel 3 of conv1 must vary, got std 0");
  for (const auto& [name, t] : before) EXPECT_TRUE(torch::equal(t, copy.at(name))) << name;
  EXPECT_FALSE(net.conv1->parametrizations->data_init);
}

}  // namespace
}  // namespace ballast
