#include <ballast/drop/alpha_dropout.h>

#include <ballast/base/test_message.h>
#include <ballast/drop/dropout.h>
#include <ballast/drop/test_drop.h>

namespace ballast {
namespace {

using namespace test;

torch::Tensor alpha_dropped(const torch::Tensor& x, double p, uint64_t seed = 0, bool channelwise = false, int64_t first_row = 0) {
  return alpha_dropout(x, {.p = p, .channelwise = channelwise}, true, Key(seed), first_row);
}

TEST(AlphaDropout, ValuesAreThoseOfTheFormulaUnderTheMaskOfDropout) {
  const double p = 0.25, A = -1.7580993408473766, a = 1 / std::sqrt((1 - p) * (1 + p * A * A)), b = -a * p * A;
  const torch::Tensor x = draw({7, 30});
  const torch::Tensor kept = dropout(torch::ones_like(x), {.p = p}, true, Key(3)) != 0;
  EXPECT_TRUE(torch::allclose(alpha_dropped(x, p, 3), torch::where(kept, a * x + b, torch::full_like(x, a * A + b)), 1e-13, 1e-13));
}

TEST(AlphaDropout, MeanAndVarianceStay) {
  const int64_t n = 1 << 20;
  const torch::Tensor x = torch::randn({n}, torch::kDouble);
  for (double p : {0.1, 0.5}) {
    const torch::Tensor y = alpha_dropped(x, p, 5);
    // The mixture's fourth moment bounds the variance of the variance; 5 standard errors of both.
    const double variance = y.var(true).item<double>(), fourth = (y - y.mean()).pow(4).mean().item<double>();
    EXPECT_LE(std::abs(y.mean().item<double>()), 5 / std::sqrt(static_cast<double>(n)) * 1.01);
    EXPECT_LE(std::abs(variance - 1), 5 * std::sqrt((fourth - 1) / static_cast<double>(n)) + 5 * std::sqrt(2.0 / static_cast<double>(n)));
  }
}

TEST(AlphaDropout, EdgesLayoutsThreadsAndGradients) {
  torch::Tensor x = draw({4, 5}).requires_grad_();
  EXPECT_TRUE(alpha_dropped(x, 0).is_same(x));
  EXPECT_TRUE(alpha_dropout(x, {}, false, Key()).is_same(x));
  const torch::Tensor y = alpha_dropped(x, 1);
  y.sum().backward();
  EXPECT_EQ(zeros_in(y) + zeros_in(x.grad()), 40);
  for (bool channelwise : {false, true}) {
    expect_layouts_and_types([&](const torch::Tensor& t) { return alpha_dropped(t, 0.3, 4, channelwise); },
                             {{1, 1, 1, 1}, {5, 17, 1, 7}, {5, 64, 5, 3}, {5, 3}});
    const torch::Tensor z = draw({8, 3, 5, 7});
    EXPECT_TRUE(torch::equal(alpha_dropped(z, 0.5, 0, channelwise), torch::cat({alpha_dropped(z.slice(0, 0, 3), 0.5, 0, channelwise),
                                                                         alpha_dropped(z.slice(0, 3), 0.5, 0, channelwise, 3)})));
    expect_same_bits([&] { return alpha_dropped(z.to(torch::kFloat), 0.5, 1, channelwise); });
    expect_gradients([&](const std::vector<torch::Tensor>& in) { return alpha_dropped(in[0], 0.4, 2, channelwise); }, {draw({3, 5})});
  }
  expect_meta_and_unchanged([](const torch::Tensor& t) { return alpha_dropped(t, 0.4); }, draw({3, 5}).to(torch::kFloat));
}

TEST(AlphaDropout, ChannelwiseMakesWholeChannelsConstant) {
  const torch::Tensor y = alpha_dropped(draw({20, 30, 9}), 0.5, 1, true);
  const torch::Tensor flat = y.amax(2) == y.amin(2);
  expect_count(flat.sum().item<int64_t>(), 600, 0.5);
}

TEST(AlphaDropout, ErrorsSayWhatIsRequired) {
  EXPECT_EQ(message_of([] { alpha_dropped(torch::ones({4}), 1.5); }), "[alpha_dropout] p must be in [0, 1], got 1.5");
  EXPECT_EQ(message_of([] { alpha_dropped(torch::ones({4}), std::nan("")); }), "[alpha_dropout] p must be in [0, 1], got nan");
  EXPECT_EQ(message_of([] { alpha_dropped(torch::ones({4}, torch::kLong), 0.5); }), "[alpha_dropout] x must be floating point, got Long");
  EXPECT_EQ(message_of([] { alpha_dropped(torch::ones({4}), 0.5, 0, true); }), "[alpha_dropout] x must have at least 2 dimensions, got (4)");
}

}  // namespace
}  // namespace ballast
