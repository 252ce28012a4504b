#include <ballast/drop/patch_dropout.h>

#include <ballast/base/test_message.h>
#include <ballast/drop/test_drop.h>

namespace ballast {
namespace {

using namespace test;

TEST(PatchDropout, KeepsThePrefixAndTheLeastDrawsInOrder) {
  const torch::Tensor x = draw({3, 9, 2});
  const auto [y, places] = patch_dropout(x, {.p = 0.4, .num_prefix_tokens = 1}, true, Key(5));
  ASSERT_EQ(y.sizes(), (std::vector<int64_t>{3, 5, 2}));  // 1 + floor(8 * 0.6)
  for (int64_t n = 0; n < 3; ++n) {
    std::vector<std::pair<uint32_t, int64_t>> order;
    for (int64_t l = 0; l < 8; ++l) order.emplace_back(bits32(Key(5), static_cast<uint64_t>(n * 8 + l)), l);
    std::sort(order.begin(), order.end());
    std::vector<int64_t> want;
    for (int64_t k = 0; k < 4; ++k) want.push_back(order[static_cast<size_t>(k)].second);
    std::sort(want.begin(), want.end());
    EXPECT_TRUE(torch::equal(y[n][0], x[n][0]));
    for (int64_t k = 0; k < 4; ++k) {
      EXPECT_EQ(places[n][k].item<int64_t>(), want[static_cast<size_t>(k)]);
      EXPECT_TRUE(torch::equal(y[n][1 + k], x[n][1 + want[static_cast<size_t>(k)]]));
    }
  }
}

TEST(PatchDropout, EachPatchStaysEquallyOftenAndOneAlwaysStays) {
  const auto places = patch_dropout(torch::ones({20'000, 11, 1}), {.p = 0.5}, true, Key(1)).indices;
  for (int64_t l = 0; l < 10; ++l) expect_count((places == l).sum().item<int64_t>(), 20'000, 0.5);
  EXPECT_EQ(patch_dropout(torch::ones({2, 4, 1}), {.p = 0.9}, true, Key(1)).x.size(1), 2);
  EXPECT_EQ(patch_dropout(torch::ones({2, 4, 1}), {.p = 0.5, .num_prefix_tokens = 0}, true, Key(1)).x.size(1), 2);
}

TEST(PatchDropout, EvalRowsAndGradients) {
  torch::Tensor x = draw({8, 7, 3}).requires_grad_();
  EXPECT_TRUE(patch_dropout(x, {}, false, Key()).x.is_same(x));
  EXPECT_TRUE(patch_dropout(x, {.p = 0}, true, Key()).x.is_same(x));
  const auto f = [](const torch::Tensor& t, int64_t first = 0) { return patch_dropout(t, {}, true, Key(2), first).x; };
  EXPECT_TRUE(torch::equal(f(x), torch::cat({f(x.slice(0, 0, 3)), f(x.slice(0, 3), 3)})));
  f(x).sum().backward();
  EXPECT_EQ(x.grad().sum().item<double>(), 8 * 4 * 3);  // the class token and 3 of 6 patches
}

TEST(PatchDropout, ErrorsSayWhatIsRequired) {
  const torch::Tensor x = torch::ones({1, 197, 2});
  EXPECT_EQ(message_of([&] { patch_dropout(x, {.num_prefix_tokens = 200}, true, Key()); }), "[patch_dropout] num_prefix_tokens must be < 197, got 200");
  EXPECT_EQ(message_of([&] { patch_dropout(x, {.p = 1}, true, Key()); }), "[patch_dropout] p must be in [0, 1), got 1");
  EXPECT_EQ(message_of([&] { patch_dropout(x, {.p = std::nan("")}, true, Key()); }), "[patch_dropout] p must be in [0, 1), got nan");
  EXPECT_EQ(message_of([&] { patch_dropout(torch::ones({4, 4}), {}, true, Key()); }), "[patch_dropout] x must be (N, L, D), got (4, 4)");
}

}  // namespace
}  // namespace ballast
