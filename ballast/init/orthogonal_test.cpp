#include <ballast/init/orthogonal.h>

#include <gtest/gtest.h>

namespace ballast {
namespace {

TEST(Orthogonal, RowsOrColumnsAreOrthonormal) {
  for (std::vector<int64_t> shape : {std::vector<int64_t>{5, 5}, {40, 12}, {12, 40}, {16, 3, 3, 3}, {64, 8, 3, 3}, {1, 7}, {100, 100}, {33, 32}, {257, 300}}) {
    const torch::Tensor w = orthogonal_(torch::empty(shape, torch::kDouble), 2, 1, Key(1)).view({shape[0], -1}) / 2;
    const torch::Tensor gram = w.size(0) > w.size(1) ? w.t().mm(w) : w.mm(w.t());
    EXPECT_LE((gram - torch::eye(gram.size(0), torch::kDouble)).abs().max().item<double>(), 1e-12);
  }
  const torch::Tensor f = orthogonal_(torch::empty({30, 90}), 1, 1, Key(1));
  EXPECT_LE((f.mm(f.t()) - torch::eye(30)).abs().max().item<double>(), 1e-6);
}

TEST(Orthogonal, EachGroupByItself) {
  const torch::Tensor w = orthogonal_(torch::empty({32, 4, 3, 3}, torch::kDouble), 1, 4, Key(2)).view({4, 8, 36});
  for (int64_t g = 0; g < 4; ++g) {
    EXPECT_LE((w[g].mm(w[g].t()) - torch::eye(8, torch::kDouble)).abs().max().item<double>(), 1e-12);
  }
  EXPECT_FALSE(torch::equal(w[0], w[1]));
}

TEST(Orthogonal, TheSignOfTheDeterminantIsAFairCoin) {
  int positive = 0;
  for (uint64_t k = 0; k < 400; ++k) {
    positive += orthogonal_(torch::empty({3, 3}, torch::kDouble), 1, 1, Key(k)).det().item<double>() > 0;
  }
  EXPECT_LE(std::abs(positive - 200), 50);  // 5 standard errors
}

TEST(Orthogonal, SameBitsForAnyNumberOfThreads) {
  const int before = at::get_num_threads();
  std::vector<torch::Tensor> drawn;
  for (int threads : {1, 2, 4}) {
    at::set_num_threads(threads);
    drawn.push_back(orthogonal_(torch::empty({120, 6000}), 1, 1, Key(3)));
  }
  at::set_num_threads(before);
  EXPECT_TRUE(torch::equal(drawn[0], drawn[1]));
  EXPECT_TRUE(torch::equal(drawn[0], drawn[2]));
}

TEST(Orthogonal, Errors) {
  const auto message = [](std::vector<int64_t> shape, int64_t groups) -> std::string {
    try {
      orthogonal_(torch::empty(shape), 1, groups, Key());
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message({64}, 1), "[orthogonal] w must have at least 2 dimensions, got (64)");
  EXPECT_EQ(message({64, 8, 3, 3}, 3), "[orthogonal] groups must divide dimension 0, got groups 3 and (64, 8, 3, 3)");
  EXPECT_EQ(orthogonal_(torch::empty({0, 3}), 1, 1, Key()).numel(), 0);
}

}  // namespace
}  // namespace ballast
