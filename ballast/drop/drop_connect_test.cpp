#include <ballast/drop/drop_connect.h>

#include <ballast/base/test_message.h>
#include <ballast/drop/dropout.h>
#include <ballast/drop/test_drop.h>

namespace ballast {
namespace {

using namespace test;

torch::Tensor connected(const torch::Tensor& x, const torch::Tensor& w, const torch::Tensor& b, const DropConnectOptions& o,
                        uint64_t seed = 0, int64_t first_row = 0) {
  return drop_connect_linear(x, w, b, o, true, Key(seed), first_row);
}
// Whether weight (row, o, j) is kept, from the bits of base/key.
bool keeps(uint64_t seed, int64_t row, int64_t o, int64_t j, int64_t outs, int64_t ins, double p) {
  return bits16(Key(seed), static_cast<uint64_t>((row * outs + o) * (ins + 1) + j)) >= std::lround(p * 65536);
}

TEST(DropConnect, OutputsByHandFromTheBits) {
  const int64_t n = 4, in = 7, out = 5;
  const double p = 0.25;
  const torch::Tensor x = draw({n, in}), w = draw({out, in}, 1), b = draw({out}, 2);
  for (bool shared : {false, true}) {
    for (bool drop_bias : {true, false}) {
      const torch::Tensor y = connected(x, w, b, {.p = p, .per_sample = !shared, .drop_bias = drop_bias}, 3, 0);
      for (int64_t r = 0; r < n; ++r) {
        for (int64_t o = 0; o < out; ++o) {
          const int64_t row = shared ? 0 : r;
          double sum = 0;
          for (int64_t j = 0; j < in; ++j) {
            if (keeps(3, row, o, j, out, in, p)) sum += w[o][j].item<double>() * x[r][j].item<double>();
          }
          if (drop_bias && keeps(3, row, o, in, out, in, p)) sum += b[o].item<double>();
          const double want = sum / (1 - p) + (drop_bias ? 0 : b[o].item<double>());
          EXPECT_NEAR(y[r][o].item<double>(), want, 1e-12);
        }
      }
    }
  }
}

TEST(DropConnect, MomentsAreThePapers) {
  const torch::Tensor x = draw({1, 6}), w = draw({1, 6}, 1), b = draw({1}, 2);
  const int64_t masks = 100'000;
  const double p = 0.3, e = effective_p(p);
  // A mask per sample: one batch of equal rows is as many masks.
  const torch::Tensor y = connected(x.expand({masks, 6}), w, b, {.p = p}, 1);
  const double mu = (at::linear(x, w, b)).item<double>();
  const double s2 = e / (1 - e) * at::linear(x * x, w * w, b * b).item<double>();
  EXPECT_LE(std::abs(y.mean().item<double>() - mu), 5 * std::sqrt(s2 / masks));
  const double fourth = ((y - mu).pow(4).mean() / (s2 * s2)).item<double>();
  EXPECT_LE(std::abs(y.var().item<double>() / s2 - 1), 5 * std::sqrt((fourth - 1) / masks));
}

TEST(DropConnect, EvalMeanAndGaussian) {
  const torch::Tensor x = draw({3, 6}), w = draw({4, 6}, 1), b = draw({4}, 2);
  const auto eval = [&](DropConnectOptions o) { return drop_connect_linear(x, w, b, o, false, Key(1)); };
  EXPECT_TRUE(torch::equal(eval({}), at::linear(x, w, b)));
  EXPECT_TRUE(torch::allclose(eval({.p = 0.25, .scaling = Scaling::inference}), at::linear(x, w, b) * 0.75, 1e-13));
  EXPECT_TRUE(torch::equal(eval({.inference = Inference::gaussian}), at::linear(x, w, b)));
  // relu in closed form, against samples of N(mu, s^2) drawn by LibTorch.
  const torch::Tensor mu = at::linear(x, w, b), s = at::linear(x * x, w * w, b * b).sqrt();
  const torch::Tensor z = torch::randn({200'000, 1, 1}, torch::kDouble);
  const torch::Tensor sampled = at::relu(mu + s * z);
  const torch::Tensor error = (eval({.inference = Inference::gaussian, .act = Act::relu}) - sampled.mean(0)).abs() /
                              (sampled.std(0) / std::sqrt(200'000.0) + 1e-12);
  EXPECT_LE(error.max().item<double>(), 5);
  // tanh by ballast's own draws.
  const torch::Tensor t = at::tanh(mu + s * z);
  const torch::Tensor off = (eval({.inference = Inference::gaussian, .samples = 20'000, .act = Act::tanh}) - t.mean(0)).abs() /
                            (t.std(0) / std::sqrt(20'000.0) + 1e-12);
  EXPECT_LE(off.max().item<double>(), 6);
}

TEST(DropConnect, GradientsAreThoseOfDifferences) {
  for (bool per_sample : {true, false}) {
    expect_gradients([&](const std::vector<torch::Tensor>& in) {
      return connected(in[0], in[1], in[2], {.p = 0.4, .per_sample = per_sample}, 5);
    }, {draw({3, 4}), draw({2, 4}, 1), draw({2}, 2)});
  }
}

TEST(DropConnect, TypesThreadsAndRows) {
  const torch::Tensor x = draw({8, 100}), w = draw({30, 100}, 1), b = draw({30}, 2);
  const DropConnectOptions o{.p = 0.3};
  const torch::Tensor want = connected(x, w, b, o);
  EXPECT_TRUE(torch::equal(want, torch::cat({connected(x.slice(0, 0, 3), w, b, o), connected(x.slice(0, 3), w, b, o, 0, 3)})));
  const torch::Tensor f = connected(x.to(torch::kFloat), w.to(torch::kFloat), b.to(torch::kFloat), o);
  EXPECT_TRUE(torch::allclose(f.to(torch::kDouble), want, 1e-5, 1e-4));
  const auto bf = torch::kBFloat16;
  EXPECT_EQ(connected(x.to(bf), w.to(bf), b.to(bf), o).scalar_type(), bf);
  expect_same_bits([&] {
    torch::Tensor xf = x.to(torch::kFloat).requires_grad_(), wf = w.to(torch::kFloat).requires_grad_();
    const torch::Tensor y = connected(xf, wf, b.to(torch::kFloat), o);
    y.square().sum().backward();
    return torch::cat({y.flatten(), xf.grad().flatten(), wf.grad().flatten()});
  });
  EXPECT_EQ(connected(torch::empty({0, 100}, torch::kDouble), w, b, o).sizes(), (std::vector<int64_t>{0, 30}));
}

TEST(DropConnect, ConvolutionOfEachSampleHasItsOwnMask) {
  const torch::Tensor x = draw({3, 4, 6, 6}), w = draw({8, 2, 3, 3}, 1), b = draw({8}, 2);
  const DropConnectConv2dGeometry g{.stride = 2, .padding = 1, .groups = 2};
  for (bool per_sample : {true, false}) {
    const torch::Tensor y = drop_connect_conv2d(x, w, b, g, {.p = 0.25, .per_sample = per_sample}, true, Key(3));
    for (int64_t r = 0; r < 3; ++r) {
      torch::Tensor masked = w.clone(), bias = b.clone();
      for (int64_t o = 0; o < 8; ++o) {
        for (int64_t j = 0; j < 18; ++j) {
          if (!keeps(3, per_sample ? r : 0, o, j, 8, 18, 0.25)) masked[o].view(-1)[j] = 0;
        }
        if (!keeps(3, per_sample ? r : 0, o, 18, 8, 18, 0.25)) bias[o] = 0;
      }
      const torch::Tensor want = at::conv2d(x.slice(0, r, r + 1), masked, bias, {2, 2}, {1, 1}, {1, 1}, 2) / 0.75;
      EXPECT_TRUE(torch::allclose(y[r], want[0], 1e-11, 1e-11));
    }
  }
  EXPECT_TRUE(torch::equal(drop_connect_conv2d(x, w, b, g, {}, false, Key()), at::conv2d(x, w, b, {2, 2}, {1, 1}, {1, 1}, 2)));
}

TEST(DropConnect, ErrorsSayWhatIsRequired) {
  const torch::Tensor x = torch::ones({8, 256}), w = torch::ones({10, 512});
  EXPECT_EQ(message_of([&] { connected(x, w, {}, {}); }), "[drop_connect] x must have 512 features, got (8, 256)");
  EXPECT_EQ(message_of([&] { connected(x, w, {}, {.p = 1}); }), "[drop_connect] p must be in [0, 1), got 1");
  EXPECT_EQ(message_of([&] { connected(x, w, {}, {.p = std::nan("")}); }), "[drop_connect] p must be in [0, 1), got nan");
  EXPECT_EQ(message_of([&] { connected(x, w, {}, {.samples = 0}); }), "[drop_connect] samples must be >= 1, got 0");
  EXPECT_EQ(message_of([&] { connected(x.to(torch::kLong), w, {}, {}); }), "[drop_connect] x must be floating point, got Long");
}

}  // namespace
}  // namespace ballast
