#include <ballast/drop/spatial_dropout.h>

#include <ballast/base/test_message.h>
#include <ballast/drop/test_drop.h>

namespace ballast {
namespace {

using namespace test;

torch::Tensor channels_dropped(const torch::Tensor& x, double p, uint64_t seed = 0, int64_t first_row = 0) {
  return spatial_dropout(x, {.p = p}, true, Key(seed), first_row);
}

TEST(SpatialDropout, ChannelsAreZeroOrScaledAsTheirEventSays) {
  const torch::Tensor x = draw({5, 17, 3, 7});
  const torch::Tensor y = channels_dropped(x, 0.4, 6);
  for (int64_t n = 0; n < 5; ++n) {
    for (int64_t c = 0; c < 17; ++c) {
      const bool gone = event(Key(6), static_cast<uint64_t>(n * 17 + c), 0.4);
      const torch::Tensor want = gone ? torch::zeros_like(x[n][c]) : x[n][c] / 0.6;
      EXPECT_TRUE(torch::allclose(y[n][c], want, 1e-9, 0));
      EXPECT_EQ(zeros_in(y[n][c]) > 0, gone);
    }
  }
}

TEST(SpatialDropout, RateIsMetAndEdgesHold) {
  for (double p : {1e-6, 0.01, 0.1, 0.5, 0.9}) {
    expect_count(zeros_in(channels_dropped(torch::ones({1000, 1000, 1}), p, 2)), 1e6, p);
  }
  torch::Tensor x = draw({3, 4, 5}).requires_grad_();
  EXPECT_TRUE(channels_dropped(x, 0).is_same(x));
  EXPECT_TRUE(spatial_dropout(x, {.p = 0.5}, false, Key()).is_same(x));
  const torch::Tensor y = channels_dropped(x, 1);
  y.sum().backward();
  EXPECT_EQ(zeros_in(y) + zeros_in(x.grad()), 120);
  const SpatialDropoutOptions inference{.p = 0.25, .scaling = Scaling::inference};
  EXPECT_TRUE(torch::allclose(spatial_dropout(x, inference, true, Key(1)), channels_dropped(x, 0.25, 1) * 0.75, 1e-9, 0));
  EXPECT_TRUE(torch::equal(spatial_dropout(x, inference, false, Key(1)), x * 0.75));
}

TEST(SpatialDropout, LayoutsTypesRowsThreadsAndGradients) {
  expect_layouts_and_types([](const torch::Tensor& x) { return channels_dropped(x, 0.3, 4); },
                           {{1, 1, 1, 1}, {5, 17, 1, 7}, {5, 64, 5, 3}, {2, 17, 133, 91}, {5, 3}, {3, 4, 5, 2, 3}});
  const torch::Tensor x = draw({8, 3, 5, 7});
  EXPECT_TRUE(torch::equal(channels_dropped(x, 0.5), torch::cat({channels_dropped(x.slice(0, 0, 3), 0.5), channels_dropped(x.slice(0, 3), 0.5, 0, 3)})));
  expect_same_bits([&] { return channels_dropped(x.to(torch::kFloat), 0.5); });
  expect_gradients([](const std::vector<torch::Tensor>& in) { return channels_dropped(in[0], 0.4, 2); }, {draw({2, 5, 2})});
  expect_meta_and_unchanged([](const torch::Tensor& t) { return channels_dropped(t, 0.4); }, draw({3, 5}).to(torch::kFloat));
  EXPECT_EQ(channels_dropped(torch::empty({0, 3, 4}), 0.5).numel(), 0);
}

TEST(SpatialDropout, ErrorsSayWhatIsRequired) {
  EXPECT_EQ(message_of([] { channels_dropped(torch::ones({4, 4}), 1.5); }), "[spatial_dropout] p must be in [0, 1], got 1.5");
  EXPECT_EQ(message_of([] { channels_dropped(torch::ones({4, 4}), std::nan("")); }), "[spatial_dropout] p must be in [0, 1], got nan");
  EXPECT_EQ(message_of([] { channels_dropped(torch::ones({4}), 0.5); }), "[spatial_dropout] x must have at least 2 dimensions, got (4)");
  EXPECT_EQ(message_of([] { channels_dropped(torch::ones({4, 4}, torch::kInt), 0.5); }), "[spatial_dropout] x must be floating point, got Int");
  EXPECT_EQ(message_of([] { SpatialDropout2d()(torch::ones({3, 32, 32})); }),
            "[spatial_dropout] SpatialDropout2d needs (N, C, H, W), got (3, 32, 32)");
  EXPECT_EQ(message_of([] { SpatialDropout1d()(torch::ones({3, 32})); }), "[spatial_dropout] SpatialDropout1d needs (N, C, L), got (3, 32)");
  EXPECT_EQ(SpatialDropout3d()(torch::ones({2, 3, 4, 4, 4})).dim(), 5);
}

}  // namespace
}  // namespace ballast
