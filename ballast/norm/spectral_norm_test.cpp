#include <ballast/norm/spectral_norm.h>

#include <gtest/gtest.h>

#include <ballast/base/test_message.h>
#include <ballast/norm/test_gradients.h>

namespace ballast {
namespace {

using test::draw;

double top_singular_value(const torch::Tensor& matrix) {
  return at::linalg_svdvals(matrix.detach().to(torch::kDouble)).max().item<double>();
}

SpectralNormResult iterate(const torch::Tensor& w, int64_t n, int64_t dim = 0) {
  const torch::Tensor m = (dim == 0 ? w : w.transpose(0, dim)).flatten(1);
  return spectral_norm(w, torch::ones({m.size(0)}, w.options()), torch::ones({m.size(1)}, w.options()), true,
                       {.n_power_iterations = n, .dim = dim});
}

TEST(SpectralNorm, ByHand) {
  const torch::Tensor w = torch::diag(torch::tensor({3.0, 1.0}, torch::kDouble));
  // v = (1, 1): u = (3, 1) / sqrt 10, v = (9, 1) / sqrt 82, sigma = (81 + 1) / sqrt 820.
  const SpectralNormResult r = iterate(w, 1);
  EXPECT_TRUE(torch::allclose(r.u, torch::tensor({3.0, 1.0}, torch::kDouble) / std::sqrt(10.0)));
  EXPECT_TRUE(torch::allclose(r.v, torch::tensor({9.0, 1.0}, torch::kDouble) / std::sqrt(82.0)));
  EXPECT_TRUE(torch::allclose(r.w, w * (std::sqrt(820.0) / 82)));
}

TEST(SpectralNorm, ARankOneMatrixIsExactAtOnce) {
  const torch::Tensor w = at::outer(draw({5}), draw({7}, 2));
  EXPECT_NEAR(top_singular_value(iterate(w, 1).w), 1, 1e-14);
}

TEST(SpectralNorm, TheTopSingularValueComesToOne) {
  for (double seed : {0.0, 1.0, 2.0, 3.0}) {
    const torch::Tensor w = draw({16, 3, 3, 3}, seed);
    const double sigma = top_singular_value(iterate(w, 100).w.flatten(1));
    EXPECT_GE(sigma, 1 - 1e-12) << seed;
    EXPECT_LE(sigma, 1.0001) << seed;
  }
}

TEST(SpectralNorm, ALayerAfterAHundredForwardsIsWithinBoundsOfTheSvd) {
  SpectralNormConvTranspose2d layer(ConvTranspose2dLayerOptions{.in_channels = 12, .out_channels = 8, .kernel_size = {2, 3}, .key = Key(4)});
  layer->to(torch::kDouble);
  const torch::Tensor x = draw({1, 12, 4, 4});
  for (int i = 0; i < 100; ++i) layer->forward(x);
  layer->eval();
  const double sigma = top_singular_value(layer->weight().transpose(0, 1).flatten(1));
  EXPECT_GE(sigma, 1 - 1e-12);
  EXPECT_LE(sigma, 1.0001);
}

TEST(SpectralNorm, EvalIsRightBeforeAnyTrainingAndSameEachTime) {
  SpectralNormLinear layer(LinearLayerOptions{.in_features = 30, .out_features = 20, .key = Key(2)});
  layer->eval();
  const torch::Tensor x = draw({4, 30}).to(torch::kFloat);
  const torch::Tensor y = layer->forward(x);
  EXPECT_TRUE(torch::equal(layer->forward(x), y));
  const double sigma = top_singular_value(layer->weight());
  EXPECT_GE(sigma, 1 - 1e-6);
  EXPECT_LE(sigma, 1.05);
}

TEST(SpectralNorm, GradientsAreThoseOfDifferencesInTrainingAndInEval) {
  const torch::Tensor w = draw({3, 2, 2});
  const SpectralNormResult settled = iterate(w, 3);
  // u and v count as constants: differences are taken without iterating.
  test::expect_gradients([&](const test::Inputs& x) { return spectral_norm(x[0], settled.u, settled.v, false).w; }, {w});
  torch::Tensor a = w.clone().requires_grad_(), b = w.clone().requires_grad_();
  const SpectralNormResult trained = spectral_norm(a, settled.u, settled.v, true);
  trained.w.square().sum().backward();
  spectral_norm(b, trained.u, trained.v, false).w.square().sum().backward();
  EXPECT_TRUE(torch::allclose(a.grad(), b.grad(), 1e-12, 1e-14));
  // The formula: (G - sum(G w) u v^T) / sigma.
  const double sigma = at::dot(trained.u, at::mv(w.flatten(1), trained.v)).item<double>();
  const torch::Tensor g = 2 * trained.w.detach();
  const torch::Tensor expected =
      (g - (g * trained.w.detach()).sum() * at::outer(trained.u, trained.v).view(w.sizes())) / sigma;
  EXPECT_TRUE(torch::allclose(a.grad(), expected, 1e-10, 1e-12));
}

TEST(SpectralNorm, TwoForwardsBeforeABackwardAreLegalAndRight) {
  SpectralNormLinear layer(LinearLayerOptions{.in_features = 5, .out_features = 4, .key = Key(1)});
  layer->to(torch::kDouble);
  const torch::Tensor x = draw({3, 5});
  const torch::Tensor first_u = layer->parametrizations->weight->vectors->_u.clone();
  const torch::Tensor first_v = layer->parametrizations->weight->vectors->_v.clone();
  layer->eval();
  const torch::Tensor before = layer->forward(x).square().sum();
  layer->train();
  const torch::Tensor first = layer->forward(x).square().sum();
  const torch::Tensor second = layer->forward(x * 2).square().sum();
  (before + first + second).backward();
  torch::Tensor w = layer->parametrizations->drawn().detach().clone().requires_grad_();
  const SpectralNormResult one = spectral_norm(w, first_u, first_v, true), two = spectral_norm(w, one.u, one.v, true);
  const torch::Tensor zero = spectral_norm(w, first_u, first_v, false).w;
  const auto y = [&](const torch::Tensor& weight, const torch::Tensor& in) { return at::linear(in, weight, layer->bias.detach()); };
  (y(zero, x).square().sum() + y(one.w, x).square().sum() + y(two.w, x * 2).square().sum()).backward();
  EXPECT_TRUE(torch::allclose(layer->parametrizations->drawn().grad(), w.grad(), 1e-11, 1e-13));
}

TEST(SpectralNorm, LayersHavePyTorchsNames) {
  SpectralNormConv2d layer(Conv2dLayerOptions{.in_channels = 4, .out_channels = 6});
  const auto state = test::tensors_of(*layer);
  ASSERT_EQ(state.size(), 4u);
  EXPECT_EQ(state.at("parametrizations.weight.original").sizes(), (std::vector<int64_t>{6, 4, 3, 3}));
  EXPECT_EQ(state.at("parametrizations.weight.0._u").numel(), 6);
  EXPECT_EQ(state.at("parametrizations.weight.0._v").numel(), 36);
  EXPECT_EQ(layer->parameters().size(), 2u);
}

TEST(SpectralNorm, RemoveGivesTheEffectiveWeight) {
  const torch::Tensor x = draw({2, 4, 5, 6}).to(torch::kFloat);
  SpectralNormConv2d conv(Conv2dLayerOptions{.in_channels = 4, .out_channels = 6, .padding = {1, 2}, .groups = 2});
  for (int i = 0; i < 3; ++i) conv->forward(x);
  const auto plain = conv->remove();
  conv->eval();
  EXPECT_TRUE(torch::allclose(plain->forward(x), conv->forward(x), 1e-5, 1e-6));
  EXPECT_FALSE(torch::allclose(plain->weight, conv->parametrizations->drawn()));
}

TEST(SpectralNorm, ACloneIsIndependentWithItsVectors) {
  SpectralNormLinear layer(LinearLayerOptions{.in_features = 6, .out_features = 4, .key = Key(3)});
  const torch::Tensor x = draw({2, 6}).to(torch::kFloat);
  for (int i = 0; i < 4; ++i) layer->forward(x);
  const auto copy = std::dynamic_pointer_cast<SpectralNormLinearImpl>(layer->clone());
  const auto before = layer->parametrizations->weight->vectors->_u.clone();
  EXPECT_TRUE(torch::equal(copy->parametrizations->weight->vectors->_u, before));
  for (int i = 0; i < 4; ++i) copy->forward(x);
  EXPECT_TRUE(torch::equal(layer->parametrizations->weight->vectors->_u, before));
  EXPECT_FALSE(torch::equal(copy->parametrizations->weight->vectors->_u, before));
}

TEST(SpectralNorm, SavesAndLoadsAndReadsOldNamesWithVectorsOrWithout) {
  const auto make = [](uint64_t seed) {
    SpectralNormLinear layer(LinearLayerOptions{.in_features = 4, .out_features = 3, .key = Key(seed)});
    layer->eval();
    return layer;
  };
  SpectralNormLinear a = make(1), b = make(2);
  test::save_and_load(a.ptr(), b.ptr());
  EXPECT_TRUE(torch::equal(a->weight(), b->weight()));
  for (bool with_vectors : {true, false}) {
    torch::nn::Module old;
    const torch::Tensor w = draw({3, 4}, 5).to(torch::kFloat);
    old.register_parameter("weight_orig", w);
    old.register_parameter("bias", draw({3}, 6).to(torch::kFloat));
    const SpectralNormResult settled = iterate(w, 50);
    if (with_vectors) {
      old.register_buffer("weight_u", settled.u);
      old.register_buffer("weight_v", settled.v);
    }
    std::stringstream stream;
    torch::serialize::OutputArchive out;
    old.save(out);
    out.save_to(stream);
    torch::serialize::InputArchive in;
    in.load_from(stream);
    SpectralNormLinear c = make(9);
    c->load(in);
    EXPECT_TRUE(torch::allclose(c->weight(), settled.w, with_vectors ? 1e-6 : 1e-3, 1e-6)) << with_vectors;
    EXPECT_TRUE(torch::equal(c->bias, old.named_parameters()["bias"]));
  }
}

TEST(SpectralNorm, ErrorsNameWhatIsRequired) {
  const torch::Tensor w = draw({8, 27});
  EXPECT_EQ(message_of([&] { SpectralNormLinear(LinearLayerOptions{.in_features = 2, .out_features = 2},
                                               SpectralNormOptions{.n_power_iterations = 0}); }),
            "[spectral_norm] n_power_iterations must be >= 1, got 0");
  EXPECT_EQ(message_of([&] { spectral_norm(w, draw({8}), draw({27}), true, {.eps = 0}); }),
            "[spectral_norm] eps must be > 0, got 0");
  EXPECT_EQ(message_of([&] { spectral_norm(draw({8}), draw({8}), draw({8}), true); }),
            "[spectral_norm] weight must have at least 2 dimensions, got (8)");
  EXPECT_EQ(message_of([&] { spectral_norm(w, draw({8}), draw({8}), true); }),
            "[spectral_norm] u and v must have sizes 8 and 27, got 8 and 8");
}

}  // namespace
}  // namespace ballast
