#include <gtest/gtest.h>


#include <ballast/base/test_message.h>
#include <ballast/norm/group_norm.h>
#include <ballast/norm/instance_norm.h>
#include <ballast/norm/layer_norm.h>
#include <ballast/norm/layer_norm_2d.h>
#include <ballast/norm/rms_norm.h>
#include <ballast/norm/rms_norm_2d.h>
#include <ballast/norm/test_gradients.h>

// Norms whose statistics are of one sample.

namespace ballast {
namespace {

using test::draw;
using torch::Tensor;

TEST(UnbatchedNorms, ByHand) {
  // 1, 2, 3, 6: mean 3, variance 3.5, mean square 12.5.
  const Tensor x = torch::tensor({1.0, 2.0, 3.0, 6.0}, torch::kDouble);
  const Tensor y = (x - 3) / std::sqrt(3.5 + 1e-5), r = x / std::sqrt(12.5 + 1e-5);
  const auto near = [](const Tensor& a, const Tensor& b) { return torch::allclose(a.flatten(), b, 1e-12, 1e-13); };
  EXPECT_TRUE(near(layer_norm(x.view({1, 4}), {}, {}, {.shape = {4}}), y));
  EXPECT_TRUE(near(layer_norm_2d(x.view({1, 4, 1, 1}), {}, {}, {.num_channels = 4, .eps = 1e-5}), y));
  EXPECT_TRUE(near(group_norm(x.view({1, 2, 2, 1}), {}, {}, {.num_channels = 2, .num_groups = 1}), y));
  EXPECT_TRUE(near(instance_norm(x.view({1, 1, 2, 2}), {}, {}, {.num_features = 1}), y));
  EXPECT_TRUE(near(rms_norm(x.view({1, 4}), {}, {.shape = {4}, .eps = 1e-5}), r));
  EXPECT_TRUE(near(rms_norm_2d(x.view({1, 4, 1, 1}), {}, {.num_channels = 4, .eps = 1e-5}), r));
}

TEST(UnbatchedNorms, OneIsTheOtherAtTheLimits) {
  const Tensor x = draw({3, 8, 4, 5}), w = draw({8}, 1), b = draw({8}, 2);
  const Tensor as_layer = layer_norm(x, {}, {}, {.shape = {8, 4, 5}});
  EXPECT_TRUE(torch::allclose(group_norm(x, {}, {}, {.num_channels = 8, .num_groups = 1}), as_layer, 1e-10, 1e-11));
  EXPECT_TRUE(torch::allclose(group_norm(x, w, b, {.num_channels = 8, .num_groups = 8}),
                              instance_norm(x, w, b, {.num_features = 8}), 1e-12, 1e-12));
  EXPECT_TRUE(torch::equal(group_norm(x, w, b, {.num_channels = 8, .group_size = 2}),
                           group_norm(x, w, b, {.num_channels = 8, .num_groups = 4})));
  const Tensor permuted = layer_norm(x.permute({0, 2, 3, 1}), w, b, {.shape = {8}, .eps = 1e-6}).permute({0, 3, 1, 2});
  EXPECT_TRUE(torch::allclose(layer_norm_2d(x, w, b, {.num_channels = 8}), permuted, 1e-10, 1e-11));
}

TEST(UnbatchedNorms, ScaleOfTheInputDoesNotMatter) {
  const Tensor x = draw({3, 8, 4, 5}).to(torch::kFloat);
  const auto near = [](const Tensor& a, const Tensor& b) { EXPECT_LE((a - b).abs().max().item<double>(), 1e-4); };
  near(group_norm(5 * x, {}, {}, {.num_channels = 8, .num_groups = 2}), group_norm(x, {}, {}, {.num_channels = 8, .num_groups = 2}));
  near(layer_norm_2d(5 * x, {}, {}, {.num_channels = 8}), layer_norm_2d(x, {}, {}, {.num_channels = 8}));
  near(rms_norm_2d(5 * x, {}, {.num_channels = 8}), rms_norm_2d(x, {}, {.num_channels = 8}));
}

TEST(UnbatchedNorms, ASampleIsTheSameInBatchesOf1And7And64) {
  const Tensor x = draw({64, 12, 96}).to(torch::kFloat);
  const LayerNormOptions options{.shape = {96}};
  const Tensor alone = layer_norm(x.slice(0, 0, 1), {}, {}, options);
  EXPECT_TRUE(torch::equal(layer_norm(x.slice(0, 0, 7), {}, {}, options)[0], alone[0]));
  EXPECT_TRUE(torch::equal(layer_norm(x, {}, {}, options)[0], alone[0]));
  // A sequence that was padded, too.
  EXPECT_TRUE(torch::equal(layer_norm(x.slice(1, 0, 5), {}, {}, options), layer_norm(x, {}, {}, options).slice(1, 0, 5)));
}

TEST(UnbatchedNorms, InstanceNormTracksWhereItIsAsked) {
  InstanceNorm norm(InstanceNormOptions{.num_features = 3, .track_running_stats = true});
  const Tensor x = draw({4, 3, 5, 5});
  norm->forward(x);
  const Tensor mean = x.mean({2, 3}).mean(0), var = x.flatten(2).var(2, true).mean(0);
  EXPECT_TRUE(torch::allclose(norm->running_mean.to(torch::kDouble), 0.1 * mean, 1e-5, 1e-6));
  EXPECT_TRUE(torch::allclose(norm->running_var.to(torch::kDouble), 0.9 + 0.1 * var, 1e-5, 1e-6));
  norm->eval();
  const auto v = [](const Tensor& t) { return t.view({1, -1, 1, 1}); };
  EXPECT_TRUE(torch::allclose(norm->forward(x).to(torch::kDouble),
                              (x - v(norm->running_mean)) / (v(norm->running_var) + 1e-5).sqrt(), 1e-5, 1e-6));
  EXPECT_TRUE(InstanceNorm(InstanceNormOptions{.num_features = 3})->parameters().empty());
}

TEST(UnbatchedNorms, ModulesHoldWhatTheirOptionsSay) {
  EXPECT_EQ(LayerNorm(LayerNormOptions{.shape = {4, 5}})->parameters().size(), 2u);
  EXPECT_EQ(LayerNorm(LayerNormOptions{.shape = {4}, .bias = false})->parameters().size(), 1u);
  EXPECT_EQ(LayerNorm(LayerNormOptions{.shape = {4}, .affine = false})->parameters().size(), 0u);
  EXPECT_EQ(RmsNorm(RmsNormOptions{.shape = {4}})->parameters().size(), 1u);
  EXPECT_EQ(RmsNorm2d(RmsNorm2dOptions{.num_channels = 4})->parameters().size(), 1u);
  EXPECT_EQ(GroupNorm(GroupNormOptions{.num_channels = 32, .affine = false})->parameters().size(), 0u);
  const Tensor x = draw({2, 4, 3, 3}).to(torch::kFloat);
  EXPECT_EQ(LayerNorm2d(LayerNorm2dOptions{.num_channels = 4})->forward(x).sizes(), x.sizes());
  EXPECT_EQ(RmsNorm2d(RmsNorm2dOptions{.num_channels = 4})->forward(x).sizes(), x.sizes());
}

TEST(UnbatchedNorms, ErrorsNameWhatIsRequired) {
  EXPECT_EQ(message_of([] { GroupNorm(GroupNormOptions{.num_channels = 48}); }),
            "[group_norm] num_groups must divide channels, got 32 and 48");
  EXPECT_EQ(message_of([] { GroupNorm(GroupNormOptions{.num_channels = 48, .group_size = 5}); }),
            "[group_norm] group_size must divide channels, got 5 and 48");
  EXPECT_EQ(message_of([] { group_norm(torch::zeros({4, 32, 1, 1}), {}, {}, {.num_channels = 32}); }),
            "[group_norm] each group must hold more than 1 value, got (4, 32, 1, 1) with 32 groups");
  EXPECT_EQ(message_of([] { instance_norm(torch::zeros({2, 3, 1, 1}), {}, {}, {.num_features = 3}); }),
            "[instance_norm] x must have more than 1 position in training, got (2, 3, 1, 1)");
  EXPECT_EQ(message_of([] { layer_norm(torch::zeros({8, 32}), {}, {}, {.shape = {64}}); }),
            "[layer_norm] the last dimensions of x must be (64), got (8, 32)");
  EXPECT_EQ(message_of([] { rms_norm(torch::zeros({8, 32}), {}, {.shape = {64}}); }),
            "[rms_norm] the last dimensions of x must be (64), got (8, 32)");
  EXPECT_EQ(message_of([] { layer_norm_2d(torch::zeros({8, 32, 4, 4}), {}, {}, {.num_channels = 64}); }),
            "[layer_norm_2d] x must have 64 channels, got (8, 32, 4, 4)");
  EXPECT_EQ(message_of([] { rms_norm_2d(torch::zeros({8, 32, 4, 4}), {}, {.num_channels = 64}); }),
            "[rms_norm_2d] x must have 64 channels, got (8, 32, 4, 4)");
  EXPECT_EQ(message_of([] { layer_norm(torch::zeros({8, 64}), {}, {}, {.shape = {64}, .act = Act::tanh}); }),
            "[layer_norm] act must be one of none, relu, relu6, leaky_relu, silu, hardswish, got tanh");
}

}  // namespace
}  // namespace ballast
