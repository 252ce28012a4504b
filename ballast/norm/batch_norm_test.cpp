#include <ballast/norm/batch_norm.h>

#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>

#include <cmath>

#include <ballast/base/test_message.h>
#include <ballast/norm/test_gradients.h>

namespace ballast {
namespace {

using test::draw;
using torch::Tensor;

TEST(BatchNorm, ByHand) {
  BatchNorm norm(BatchNormOptions{.num_features = 1});
  const Tensor x = torch::tensor({1.0, 2.0, 3.0, 6.0}, torch::kDouble).reshape({4, 1});
  const Tensor y = norm->forward(x);
  const double is = 1 / std::sqrt(3.5 + 1e-5);
  EXPECT_TRUE(torch::allclose(y.flatten(), torch::tensor({-2 * is, -is, 0.0, 3 * is}, torch::kDouble), 1e-12, 1e-14));
  EXPECT_NEAR(norm->running_mean.item<double>(), 0.3, 1e-7);
  EXPECT_NEAR(norm->running_var.item<double>(), 0.9 + 0.1 * 14 / 3, 1e-6);
  const BatchNormResult r = batch_norm(x, {}, {}, {}, {}, true, {.num_features = 1});
  EXPECT_EQ(r.mean.item<double>(), 3);
  EXPECT_EQ(r.var.item<double>(), 3.5);
}

TEST(BatchNorm, WithoutMomentumRunningStatisticsAreThePlainMean) {
  BatchNorm norm(BatchNormOptions{.num_features = 3, .momentum = std::nullopt});
  Tensor means = torch::zeros({3}, torch::kDouble), vars = torch::zeros({3}, torch::kDouble);
  for (int i = 0; i < 3; ++i) {
    const Tensor x = draw({4, 3, 5}, i);
    norm->forward(x);
    means += x.mean(at::IntArrayRef({0, 2})) / 3;
    vars += x.var(at::IntArrayRef({0, 2}), true) / 3;
  }
  EXPECT_TRUE(torch::allclose(norm->running_mean.to(torch::kDouble), means, 1e-6, 1e-7));
  EXPECT_TRUE(torch::allclose(norm->running_var.to(torch::kDouble), vars, 1e-6, 1e-7));
}

TEST(BatchNorm, StateAndResultsAreThoseOfLibTorchsModule) {
  torch::nn::BatchNorm2d theirs(6);
  BatchNorm ours(BatchNormOptions{.num_features = 6});
  for (int i = 0; i < 3; ++i) {
    const Tensor x = draw({4, 6, 3, 5}, i).to(torch::kFloat);
    EXPECT_TRUE(torch::allclose(theirs(x), ours->forward(x), 1e-5, 1e-6));
  }
  theirs->eval();
  ours->eval();
  const Tensor x = draw({2, 6, 4, 4}, 9).to(torch::kFloat);
  EXPECT_TRUE(torch::allclose(theirs(x), ours->forward(x), 1e-5, 1e-6));
  for (const auto& b : theirs->named_buffers()) {
    EXPECT_TRUE(torch::allclose(b.value(), ours->named_buffers()[b.key()], 1e-5, 1e-6)) << b.key();
  }
  for (const auto& p : theirs->named_parameters()) EXPECT_TRUE(ours->named_parameters().contains(p.key()));
}

TEST(BatchNorm, OneValuePerChannelIsAnErrorOrUsesRunningStatistics) {
  const Tensor x = torch::ones({1, 64, 1, 1});
  BatchNorm strict(BatchNormOptions{.num_features = 64});
  EXPECT_EQ(message_of([&] { strict->forward(x); }),
            "[batch_norm] x must have more than 1 value per channel in training, got (1, 64, 1, 1)");
  BatchNorm lenient(BatchNormOptions{.num_features = 64, .single = SingleValue::running_stats});
  const Tensor y = lenient->forward(x);
  EXPECT_TRUE(torch::allclose(y, x / std::sqrt(1 + 1e-5)));
  EXPECT_EQ(lenient->num_batches_tracked.item<int64_t>(), 0);
  EXPECT_TRUE(torch::equal(lenient->running_mean, torch::zeros({64})));
}

TEST(BatchNorm, GhostBatchesAreNormalizedAloneAndRunningStatisticsArePlain) {
  for (int64_t rows : {6, 7, 8}) {
    const Tensor x = draw({rows, 4});
    BatchNorm ghost(BatchNormOptions{.num_features = 4, .ghost = 3}), plain(BatchNormOptions{.num_features = 4});
    const Tensor y = ghost->forward(x);
    plain->forward(x);
    EXPECT_TRUE(torch::allclose(ghost->running_mean, plain->running_mean, 1e-6, 1e-7));
    EXPECT_TRUE(torch::allclose(ghost->running_var, plain->running_var, 1e-6, 1e-7));
    const auto alone = [&](int64_t from, int64_t to) {
      return batch_norm(x.slice(0, from, to), {}, {}, {}, {}, true, {.num_features = 4}).y;
    };
    EXPECT_TRUE(torch::allclose(y.slice(0, 0, 3), alone(0, 3), 1e-12, 1e-12));
    // Of 7 rows the last would be alone: it joins the group before. Of 8 the last two are a group.
    const int64_t end = rows == 8 ? 6 : rows;
    EXPECT_TRUE(torch::allclose(y.slice(0, 3, end), alone(3, end), 1e-12, 1e-12)) << rows;
    if (end < rows) {
      EXPECT_TRUE(torch::allclose(y.slice(0, end), alone(end, rows), 1e-12, 1e-12)) << rows;
    }
  }
}

TEST(BatchNorm, WithoutTrackingEvaluationUsesTheBatch) {
  BatchNorm norm(BatchNormOptions{.num_features = 3, .affine = false, .track_running_stats = false});
  const Tensor x = draw({4, 3, 2, 2});
  const Tensor y = norm->forward(x);
  norm->eval();
  EXPECT_TRUE(torch::equal(norm->forward(x), y));
  EXPECT_TRUE(norm->parameters().empty());
  EXPECT_TRUE(norm->buffers().empty());
}

TEST(BatchNorm, AddIsFusedWithTheSameResult) {
  BatchNorm a(BatchNormOptions{.num_features = 5, .act = Act::relu}), b(BatchNormOptions{.num_features = 5});
  const Tensor x = draw({3, 5, 4, 4}), residual = draw({3, 5, 4, 4}, 2);
  EXPECT_TRUE(torch::allclose(a->forward_add(x, residual), (b->forward(x) + residual).relu(), 1e-12, 1e-12));
}

TEST(BatchNorm, ErrorsNameWhatIsRequired) {
  const Tensor x = torch::zeros({8, 64, 4, 4});
  const BatchNormOptions options{.num_features = 64};
  EXPECT_EQ(message_of([&] { batch_norm(x, {}, {}, {}, {}, false, options); }),
            "[batch_norm] eval needs running statistics, got none");
  EXPECT_EQ(message_of([&] { batch_norm_add(x, torch::zeros({8, 32, 4, 4}), {}, {}, {}, {}, true, options); }),
            "[batch_norm] residual must have the shape of x, got (8, 64, 4, 4) and (8, 32, 4, 4)");
  EXPECT_EQ(message_of([&] { batch_norm(torch::zeros({8, 32, 4, 4}), {}, {}, {}, {}, true, options); }),
            "[batch_norm] x must have 64 channels, got (8, 32, 4, 4)");
  EXPECT_EQ(message_of([&] { batch_norm(torch::zeros({8}), {}, {}, {}, {}, true, options); }),
            "[batch_norm] x must have at least 2 dimensions, got (8)");
  EXPECT_EQ(message_of([&] { batch_norm(torch::zeros({8, 64}, torch::kLong), {}, {}, {}, {}, true, options); }),
            "[batch_norm] x must be floating point, got Long");
  EXPECT_EQ(message_of([&] { batch_norm(x, torch::ones({32}), {}, {}, {}, true, options); }),
            "[batch_norm] weight must have the shape (64), got (32)");
  EXPECT_EQ(message_of([] { BatchNorm(BatchNormOptions{.num_features = 4, .momentum = 1.5}); }),
            "[batch_norm] momentum must be in [0, 1], got 1.5");
  EXPECT_EQ(message_of([] { BatchNorm(BatchNormOptions{.num_features = 4, .eps = 0}); }),
            "[batch_norm] eps must be > 0, got 0");
  EXPECT_EQ(message_of([] { BatchNorm(BatchNormOptions{.num_features = 4, .act = Act::gelu}); }),
            "[batch_norm] act must be one of none, relu, relu6, leaky_relu, silu, hardswish, got gelu");
  EXPECT_EQ(message_of([&] {
              batch_norm_add(x, x, {}, {}, {}, {}, true, {.num_features = 64, .act = Act::silu});
            }),
            "[batch_norm] act before which a residual is added must be one of none, relu, relu6, leaky_relu, got silu");
}

TEST(BatchNorm, AnEmptyBatchUpdatesNothing) {
  BatchNorm norm(BatchNormOptions{.num_features = 3});
  EXPECT_EQ(norm->forward(torch::zeros({0, 3, 2, 2})).sizes(), (std::vector<int64_t>{0, 3, 2, 2}));
  EXPECT_EQ(norm->num_batches_tracked.item<int64_t>(), 0);
}

}  // namespace
}  // namespace ballast
