#include <ballast/drop/drop_block.h>

#include <cstdlib>

#include <ballast/base/test_message.h>
#include <ballast/drop/test_drop.h>

namespace ballast {
namespace {

using namespace test;

torch::Tensor blocks_dropped(const torch::Tensor& x, DropBlockOptions o, uint64_t seed = 0, int64_t first_row = 0) {
  return drop_block(x, o, true, Key(seed), first_row);
}
double gamma_of(std::vector<int64_t> sides, int64_t b, double p, Gamma rule = Gamma::exact) {
  return drop_block_gamma(sides, b, p, rule);
}

TEST(DropBlock, GammaKnownAnswers) {
  EXPECT_NEAR(gamma_of({14, 14}, 7, 0.1), 0.006764, 5e-7);
  EXPECT_NEAR(gamma_of({7, 7}, 7, 0.1), 0.1, 1e-12);
  EXPECT_NEAR(gamma_of({8, 8}, 4, 0.1), 0.017111, 5e-7);
  EXPECT_NEAR(gamma_of({56, 56}, 1, 0.1), 0.1, 1e-12);
  EXPECT_NEAR(gamma_of({14, 14}, 7, 0.1, Gamma::paper), 0.1 * 196 / 49 / 64, 1e-15);
}

// The share that gamma gives, by counting for every position the corners above it: nothing of the formula.
double share_by_counting(int64_t h, int64_t w, int64_t block, double gamma) {
  const int64_t bh = std::min(block, h), bw = std::min(block, w);
  double sum = 0;
  for (int64_t r = 0; r < h; ++r) {
    for (int64_t s = 0; s < w; ++s) {
      int64_t covers = 0;
      for (int64_t i = 0; i + bh <= h; ++i) {
        for (int64_t j = 0; j + bw <= w; ++j) covers += i <= r && r < i + bh && j <= s && s < j + bw ? 1 : 0;
      }
      sum += 1 - std::pow(1 - gamma, static_cast<double>(covers));
    }
  }
  return sum / static_cast<double>(h * w);
}

TEST(DropBlock, ShareIsPOnEveryMapAndBlock) {
  for (auto [h, w] : {std::pair{56, 56}, {28, 28}, {14, 14}, {7, 7}, {5, 9}, {1, 9}, {1, 1}}) {
    for (int64_t b = 1; b <= 9; ++b) {
      for (double p : {0.01, 0.1, 0.5, 0.9}) {
        EXPECT_NEAR(share_by_counting(h, w, b, gamma_of({h, w}, b, p)), p, 1e-9) << h << 'x' << w << " block " << b;
      }
    }
  }
  // Overlaps make the paper's gamma realize less.
  EXPECT_NEAR(share_by_counting(14, 14, 7, gamma_of({14, 14}, 7, 0.5, Gamma::paper)), 0.36, 0.01);
}

TEST(DropBlock, RealizedShareIsP) {
  for (auto [h, w] : {std::pair{56, 56}, {14, 14}, {7, 7}, {5, 5}, {8, 13}, {1, 9}}) {
    const int64_t maps = h == 56 ? 1000 : 10'000;
    for (int64_t b : {1, 4, 7}) {
      for (double p : {0.1, 0.5}) {
        const torch::Tensor y = blocks_dropped(torch::ones({maps / 10, 10, h, w}), {.p = p, .block_size = b}, 3);
        const double share = static_cast<double>(zeros_in(y)) / static_cast<double>(y.numel());
        EXPECT_LE(std::abs(share - p), 5 * std::sqrt(p * (1 - p) / static_cast<double>(maps))) << h << 'x' << w << " b " << b;
        EXPECT_NEAR(y.max().item<float>(), 1 / (1 - p), 1e-6);
      }
    }
  }
}

// As many maps as make a percent of p five standard errors, by the scatter of the maps themselves.
TEST(DropBlock, RateIsMetToAPercentOnEveryMapAndBlock) {
  if (std::getenv("BALLAST_SLOW_TESTS") == nullptr) GTEST_SKIP() << "set BALLAST_SLOW_TESTS to run it";
  constexpr double p = 0.1;
  for (auto [h, w] : {std::pair{56, 56}, {28, 28}, {14, 14}, {7, 7}, {5, 9}, {1, 9}, {1, 40}}) {
    for (int64_t b = 1; b <= 9; ++b) {
      double sum = 0, squares = 0, maps = 0, error = 1;
      for (int64_t row = 0; maps < 4'000'000 && error > 0.01 * p / 5; ++row) {
        const int64_t count = std::max<int64_t>(1000, 4'000'000 / (h * w));
        const torch::Tensor y = blocks_dropped(torch::ones({1, count, h, w}), {.p = p, .block_size = b}, 11, row);
        const torch::Tensor shares = (y == 0).to(torch::kDouble).mean({0, 2, 3});
        sum += shares.sum().item<double>();
        squares += shares.square().sum().item<double>();
        maps += static_cast<double>(count);
        error = std::sqrt((squares / maps - sum * sum / (maps * maps)) / maps);
      }
      ASSERT_LE(error, 0.01 * p / 5) << h << 'x' << w << " block " << b;
      EXPECT_NEAR(sum / maps, p, 0.01 * p) << h << 'x' << w << " block " << b;
    }
  }
}

TEST(DropBlock, EveryZeroLiesInAFullBlockOfZeros) {
  for (auto [h, w, b] : {std::tuple{14, 14, 4}, {9, 5, 3}, {4, 6, 9}}) {
    const torch::Tensor gone = blocks_dropped(torch::ones({40, 2, h, w}), {.p = 0.3, .block_size = b}, 8) == 0;
    const int64_t bh = std::min(b, h), bw = std::min(b, w);
    // Full blocks of zeros, spread again over their positions.
    const torch::Tensor full = 1 - torch::max_pool2d(1 - gone.to(torch::kFloat), {bh, bw}, {1, 1});
    const torch::Tensor covered = torch::max_pool2d(torch::constant_pad_nd(full, {bw - 1, bw - 1, bh - 1, bh - 1}), {bh, bw}, {1, 1});
    EXPECT_TRUE(torch::equal(covered > 0, gone));
    EXPECT_GT(gone.sum().item<int64_t>(), 0);
  }
}

TEST(DropBlock, SharedMasksAreEqualInAllChannelsAndOthersDiffer) {
  const torch::Tensor x = torch::ones({6, 8, 14, 14});
  const torch::Tensor shared = blocks_dropped(x, {.p = 0.3, .per_channel = false}, 1);
  EXPECT_TRUE(torch::equal(shared, shared.slice(1, 0, 1).expand_as(shared)));
  const torch::Tensor own = blocks_dropped(x, {.p = 0.3}, 1);
  EXPECT_FALSE(torch::equal(own, own.slice(1, 0, 1).expand_as(own)));
  EXPECT_FALSE(torch::equal(shared[0], shared[1]));
}

TEST(DropBlock, RescaleKeepsTheSumAsAsked) {
  const torch::Tensor x = torch::ones({6, 8, 14, 14}, torch::kDouble);
  const torch::Tensor sample = blocks_dropped(x, {.p = 0.3, .rescale = Rescale::sample}, 1);
  EXPECT_TRUE(torch::allclose(sample.sum({1, 2, 3}), x.sum({1, 2, 3}), 1e-12, 0));
  EXPECT_NEAR(blocks_dropped(x, {.p = 0.3, .rescale = Rescale::batch}, 1).sum().item<double>(), static_cast<double>(x.numel()), 1e-7);
  EXPECT_EQ(blocks_dropped(x, {.p = 0.3, .rescale = Rescale::none}, 1).max().item<double>(), 1);
}

TEST(DropBlock, LayoutsThreadsRowsAndGradients) {
  for (bool per_channel : {true, false}) {
    const DropBlockOptions o{.p = 0.3, .block_size = 3, .per_channel = per_channel};
    const auto f = [&](const torch::Tensor& x) { return blocks_dropped(x, o, 4); };
    expect_layouts_and_types(f, {{1, 1, 1, 1}, {5, 17, 1, 7}, {5, 33, 5, 3}, {2, 3, 33, 31}, {5, 3, 8}, {2, 3, 5, 4, 3}});
    const torch::Tensor x = draw({8, 3, 5, 7});
    EXPECT_TRUE(torch::equal(f(x), torch::cat({f(x.slice(0, 0, 3)), blocks_dropped(x.slice(0, 3), o, 4, 3)})));
    expect_same_bits([&] { return f(x.to(torch::kFloat)); });
    expect_gradients([&](const std::vector<torch::Tensor>& in) { return f(in[0]); }, {draw({2, 2, 3, 3})});
    expect_meta_and_unchanged(f, draw({3, 5, 4, 4}).to(torch::kFloat));
  }
  const DropBlockOptions sample{.p = 0.3, .block_size = 2, .rescale = Rescale::sample};
  expect_gradients([&](const std::vector<torch::Tensor>& in) { return blocks_dropped(in[0], sample, 4); }, {draw({2, 2, 3, 3})});
  const torch::Tensor x = draw({2, 3, 4, 4});
  EXPECT_TRUE(drop_block(x, {}, false, Key()).is_same(x));
  EXPECT_TRUE(blocks_dropped(x, {.p = 0}).is_same(x));
  EXPECT_EQ(blocks_dropped(torch::empty({0, 3, 4, 4}), {}).numel(), 0);
}

TEST(DropBlock, ErrorsSayWhatIsRequired) {
  const torch::Tensor x = torch::ones({2, 3, 4, 4});
  EXPECT_EQ(message_of([&] { blocks_dropped(x, {.p = 1}); }), "[drop_block] p must be in [0, 1), got 1");
  EXPECT_EQ(message_of([&] { blocks_dropped(x, {.p = std::nan("")}); }), "[drop_block] p must be in [0, 1), got nan");
  EXPECT_EQ(message_of([&] { blocks_dropped(x, {.block_size = 0}); }), "[drop_block] block_size must be >= 1, got 0");
  EXPECT_EQ(message_of([&] { blocks_dropped(torch::ones({8, 64}), {}); }), "[drop_block] x must be (N, C, H, W), got (8, 64)");
  EXPECT_EQ(message_of([&] { blocks_dropped(x.to(torch::kLong), {}); }), "[drop_block] x must be floating point, got Long");
}

}  // namespace
}  // namespace ballast
