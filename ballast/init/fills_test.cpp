#include <gtest/gtest.h>

#include <ATen/ops/conv1d.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv3d.h>

#include <cmath>

#include <ballast/base/test_message.h>
#include <ballast/init/delta_orthogonal.h>
#include <ballast/init/dirac.h>
#include <ballast/init/head.h>
#include <ballast/init/identity.h>
#include <ballast/init/normal.h>
#include <ballast/init/sparse.h>

namespace ballast {
namespace {

TEST(Identity, OnesOnTheDiagonal) {
  EXPECT_TRUE(torch::equal(eye_(torch::full({3, 5}, 7.0)), torch::eye(3, 5)));
  EXPECT_TRUE(torch::equal(eye_(torch::full({5, 3}, 7.0).t()), torch::eye(3, 5)));
  EXPECT_EQ(message_of([] { eye_(torch::empty({3, 3, 3})); }), "[identity] t must have 2 dimensions, got (3, 3, 3)");
}

TEST(Sparse, EachColumnHasItsShareOfZeros) {
  const Key key(4);
  const torch::Tensor t = sparse_(torch::empty({33, 70}), 0.3, 0.5, key);
  const torch::Tensor all = normal_(torch::empty({33, 70}), 0, 0.5, key);
  EXPECT_EQ((t == 0).sum(0).min().item<int64_t>(), 10);  // ceil(0.3 * 33)
  EXPECT_EQ((t == 0).sum(0).max().item<int64_t>(), 10);
  EXPECT_TRUE(torch::equal(t, torch::where(t == 0, t, all)));
  // Each row is as often zero as any other: 200 columns, probability 10 / 33.
  const torch::Tensor counts = (sparse_(torch::empty({33, 2000}), 0.3, 1, key) == 0).sum(1);
  const double p = 10.0 / 33, bound = 5 * std::sqrt(2000 * p * (1 - p));
  EXPECT_LE((counts - 2000 * p).abs().max().item<double>(), bound);
  EXPECT_EQ(sparse_(torch::empty({5, 4}), 1, 1, key).count_nonzero().item<int64_t>(), 0);
  EXPECT_EQ(sparse_(torch::empty({5, 4}), 0, 1, key).count_nonzero().item<int64_t>(), 20);
  EXPECT_EQ(sparse_(torch::empty({0, 4}), 0.5, 1, key).numel(), 0);
  EXPECT_EQ(message_of([] { sparse_(torch::empty({2, 2}), 2, 1, Key()); }), "[sparse] sparsity must be in [0, 1], got 2");
  EXPECT_EQ(message_of([] { sparse_(torch::empty({64}), 0.5, 1, Key()); }), "[sparse] t must have 2 dimensions, got (64)");
}

TEST(DeltaOrthogonal, ACircularConvolutionKeepsEveryNorm) {
  const torch::Tensor x = normal_(torch::empty({2, 5, 9, 7}, torch::kDouble), 0, 1, Key(1));
  for (int64_t k : {1, 3, 4}) {
    const torch::Tensor w = delta_orthogonal_(torch::full({8, 5, k, k}, 3.0, torch::kDouble), 1, Key(2));
    EXPECT_EQ(w.count_nonzero().item<int64_t>(), 40);
    // k/2 columns and rows of the other side in front, the rest behind.
    const int64_t before = k / 2, after = k - 1 - before;
    torch::Tensor padded = at::cat({x.slice(2, 9 - before), x, x.slice(2, 0, after)}, 2);
    padded = at::cat({padded.slice(3, 7 - before), padded, padded.slice(3, 0, after)}, 3);
    const torch::Tensor y = at::conv2d(padded, w);
    EXPECT_NEAR(y.norm().item<double>(), x.norm().item<double>(), 1e-10 * x.norm().item<double>());
  }
  const torch::Tensor w = delta_orthogonal_(torch::empty({8, 8, 3}, torch::kDouble), 2, Key(2)).select(2, 1) / 2;
  EXPECT_LE((w.t().mm(w) - torch::eye(8, torch::kDouble)).abs().max().item<double>(), 1e-12);
  EXPECT_EQ(message_of([] { delta_orthogonal_(torch::empty({16, 32, 3, 3}), 1, Key()); }),
            "[delta_orthogonal] out channels must be >= in channels, got 16 and 32");
  EXPECT_EQ(message_of([] { delta_orthogonal_(torch::empty({16, 16}), 1, Key()); }),
            "[delta_orthogonal] weight must have 3, 4 or 5 dimensions, got (16, 16)");
}

TEST(Dirac, AGroupedConvolutionIsTheIdentity) {
  const torch::Tensor x = normal_(torch::empty({2, 12, 6, 5}), 0, 1, Key(1));
  for (int64_t groups : {1, 3, 12}) {
    const torch::Tensor w = dirac_(torch::full({12, 12 / groups, 3, 3}, 9.0), groups);
    EXPECT_TRUE(torch::equal(at::conv2d(x, w, {}, 1, 1, 1, groups), x)) << groups;
  }
  const torch::Tensor line = normal_(torch::empty({1, 4, 9}), 0, 1, Key(2)), cube = normal_(torch::empty({1, 4, 3, 4, 5}), 0, 1, Key(3));
  EXPECT_TRUE(torch::equal(at::conv1d(line, dirac_(torch::empty({4, 4, 5})), {}, 1, 2), line));
  EXPECT_TRUE(torch::equal(at::conv3d(cube, dirac_(torch::empty({4, 4, 1, 3, 3})), {}, 1, {0, 1, 1}), cube));
  // Fewer inputs than outputs: the rest is 0.
  const torch::Tensor w = dirac_(torch::empty({6, 2, 1, 1}));
  EXPECT_EQ(w.sum().item<float>(), 2);
  EXPECT_EQ(w[1][1][0][0].item<float>(), 1);
  EXPECT_EQ(message_of([] { dirac_(torch::empty({64, 8, 3, 3}), 3); }),
            "[dirac] groups must divide dimension 0, got groups 3 and (64, 8, 3, 3)");
  EXPECT_EQ(message_of([] { dirac_(torch::empty({16, 16})); }), "[dirac] weight must have 3, 4 or 5 dimensions, got (16, 16)");
}

TEST(Head, ScaleAndPriorOfTheClasses) {
  const torch::Tensor x = normal_(torch::empty({40, 6}, torch::kDouble), 0, 1, Key(1));
  torch::Tensor w = normal_(torch::empty({3, 6}, torch::kDouble), 0, 1, Key(2)), b = torch::ones({3}, torch::kDouble);
  const torch::Tensor before = w.clone();
  head_(w, b, {.scale = 0.1});
  EXPECT_TRUE(torch::allclose(w, before * 0.1));
  EXPECT_EQ(b.abs().max().item<double>(), 0);
  head_(w, b, {});
  const torch::Tensor logits = at::linear(x, w, b);
  EXPECT_DOUBLE_EQ(-at::log_softmax(logits, 1).mean().item<double>(), std::log(3.0));
  head_(w, b, {.bias = HeadBias::log_prior, .counts = {97, 0, 0}});
  const torch::Tensor mean = at::softmax(at::linear(x, w, b), 1).mean(0);
  EXPECT_NEAR(mean[0].item<double>(), 0.98, 1e-6);
  EXPECT_NEAR(mean[2].item<double>(), 0.01, 1e-6);
  head_(w, b, {.bias = HeadBias::log_prior, .sigmoid = true, .counts = {0, 49, 98}, .samples = 98});
  const torch::Tensor yes = at::sigmoid(at::linear(x, w, b)).mean(0);
  EXPECT_NEAR(yes[0].item<double>(), 0.01, 1e-6);
  EXPECT_NEAR(yes[1].item<double>(), 0.5, 1e-6);
  EXPECT_NEAR(yes[2].item<double>(), 0.99, 1e-6);
  head_(w, b, {.bias = HeadBias::value, .value = -2});
  EXPECT_EQ(b.max().item<double>(), -2);
}

TEST(Head, Errors) {
  torch::Tensor w = torch::ones({10, 2}), b = torch::zeros({10});
  const auto error = [&](HeadOptions o) { return message_of([&] { head_(w, b, o); }); };
  EXPECT_EQ(error({.bias = HeadBias::log_prior, .counts = std::vector<int64_t>(9, 1)}), "[head] counts must have 10 entries, got 9");
  EXPECT_EQ(error({.scale = -1}), "[head] scale must be >= 0, got -1");
  EXPECT_EQ(error({.bias = HeadBias::log_prior, .counts = std::vector<int64_t>(10, -1)}), "[head] counts must be >= 0, got -1");
  EXPECT_EQ(error({.bias = HeadBias::log_prior, .sigmoid = true, .counts = std::vector<int64_t>(10, 7), .samples = 5}),
            "[head] samples must be at least every count, got 5 and 7");
  EXPECT_EQ(w.min().item<float>(), 1);
}

}  // namespace
}  // namespace ballast
