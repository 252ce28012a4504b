#include <ballast/init/kaiming.h>

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include <ballast/base/test_message.h>
#include <ballast/init/normal.h>
#include <ballast/init/trunc_normal.h>
#include <ballast/init/uniform.h>
#include <ballast/init/xavier.h>

namespace ballast {
namespace {

// |variance / s^2 - 1| within 5 standard errors; kurtosis 3 normal, 1.8 uniform, 2.3655 normal cut at 2.
void expect_variance(const torch::Tensor& w, double std, double kurtosis) {
  const torch::Tensor x = w.to(torch::kDouble);
  const double n = static_cast<double>(x.numel());
  EXPECT_LE(std::abs(x.square().mean().item<double>() / (std * std) - 1), 5 * std::sqrt((kurtosis - 1) / n));
  EXPECT_LE(std::abs(x.mean().item<double>()), 5 * std / std::sqrt(n));
}

TEST(Fills, NormalElementsAreTheNumbersOfTheKey) {
  const Key key(3);
  const torch::Tensor t = normal_(torch::empty({7, 301}, torch::kDouble), 1, 2, key);
  for (int64_t i : {0, 1, 300, 301, 2106}) EXPECT_EQ(t.view(-1)[i].item<double>(), 1 + 2 * normal(key, static_cast<uint64_t>(i)));
  // A tensor of other strides gets the same values by its logical order; half types are rounded.
  torch::Tensor strided = torch::empty({301, 7}, torch::kDouble).t();
  EXPECT_TRUE(torch::equal(normal_(strided, 1, 2, key), t));
  torch::Tensor image = torch::empty({2, 3, 4, 5}).contiguous(torch::MemoryFormat::ChannelsLast);
  EXPECT_TRUE(torch::equal(normal_(image, 0, 1, key), normal_(torch::empty({2, 3, 4, 5}), 0, 1, key)));
  EXPECT_TRUE(torch::equal(normal_(torch::empty({50}, torch::kBFloat16), 0, 1, key),
                           normal_(torch::empty({50}), 0, 1, key).to(torch::kBFloat16)));
}

TEST(Fills, SameBitsForAnyNumberOfThreads) {
  const int before = at::get_num_threads();
  std::vector<torch::Tensor> drawn;
  for (int threads : {1, 2, 4}) {
    at::set_num_threads(threads);
    drawn.push_back(at::cat({normal_(torch::empty({100'003}), 0, 1, Key(1)), uniform_(torch::empty({70'001}), -1, 1, Key(1)),
                             trunc_normal_(torch::empty({30'001}), 0, 1, -1, 1, Key(1))}));
  }
  at::set_num_threads(before);
  EXPECT_TRUE(torch::equal(drawn[0], drawn[1]));
  EXPECT_TRUE(torch::equal(drawn[0], drawn[2]));
}

TEST(Fills, UniformStaysBelowItsUpperBound) {
  const torch::Tensor t = uniform_(torch::empty({1 << 18}, torch::kHalf), 1, 1.001, Key(2));
  EXPECT_LT(t.max().to(torch::kDouble).item<double>(), 1.001);
  expect_variance(uniform_(torch::empty({1 << 16}), -2, 2, Key(3)), 2 / std::sqrt(3.0), 1.8);
  EXPECT_EQ(message_of([] { uniform_(torch::empty({2}), 1, 0, Key()); }), "[uniform] a must be < b, got 1 and 0");
  EXPECT_EQ(message_of([] { normal_(torch::empty({2}), 0, -1, Key()); }), "[normal] std must be >= 0, got -1");
  EXPECT_EQ(uniform_(torch::empty({0, 3}), 0, 1, Key()).numel(), 0);
}

TEST(TruncNormal, TailsAreThoseOfTheNormalWhereTheBoundsAreFar) {
  const torch::Tensor t = trunc_normal_(torch::empty({1 << 24}), 0, 1e-3, -2, 2, Key(0)).abs_();
  EXPECT_LE(t.max().item<double>(), 8.21e-3);
  const auto beyond = [&](double x) { return (t > x * 1e-3).sum().item<int64_t>(); };
  // 2^24 draws: expected 1062.7 beyond 4, 9.6 beyond 5, 0.033 beyond 6.
  EXPECT_GE(beyond(4), 904);
  EXPECT_LE(beyond(4), 1230);
  EXPECT_LE(beyond(5), 29);
  EXPECT_LE(beyond(6), 3);
}

double density(double z) {
  return std::exp(-z * z / 2) / std::sqrt(2 * M_PI);
}
double distribution(double z) {
  return std::erfc(-z / std::sqrt(2.0)) / 2;
}

// Mean, variance and shape between any bounds, by the closed forms.
TEST(TruncNormal, MomentsAndShapeAreThoseOfTheFormula) {
  uint64_t seed = 20;
  for (const auto& [mean, std, a, b] : std::vector<std::array<double, 4>>{
           {0, 1, -2, 2}, {0, 1, -0.3, 2.5}, {5, 2, 4, 4.5}, {0, 1, 3, 4}, {1, 0.5, -3, 0}, {0, 1, -8, -7}, {0, 1, -1e300, 0.5}}) {
    constexpr int64_t n = 1 << 18;
    const torch::Tensor t = trunc_normal_(torch::empty({n}, torch::kDouble), mean, std, a, b, Key(++seed));
    EXPECT_GE(t.min().item<double>(), a);
    EXPECT_LE(t.max().item<double>(), b);
    double alpha = (a - mean) / std, beta = (b - mean) / std;
    const double side = alpha > 0 ? -1 : 1;  // the mass is subtracted in the left tail, where it keeps its digits
    if (alpha > 0) {
      const double old = alpha;
      alpha = -beta;
      beta = -old;
    }
    const double mass = distribution(beta) - distribution(alpha);
    const double fa = alpha < -40 ? 0 : density(alpha), fb = density(beta);
    const double shift = (fa - fb) / mass;
    const double variance = 1 + ((alpha < -40 ? 0 : alpha * fa) - beta * fb) / mass - shift * shift;
    const torch::Tensor z = (t - mean) / std * side;
    const double sigma = std::sqrt(variance);
    EXPECT_NEAR(z.mean().item<double>(), shift, 5 * sigma / std::sqrt(n)) << a << ' ' << b;
    // No kurtosis of these exceeds that of the exponential, 9.
    EXPECT_NEAR(z.var().item<double>() / variance, 1, 5 * std::sqrt(8.0 / n)) << a << ' ' << b;
    std::array<double, 64> bins{};
    const auto values = z.accessor<double, 1>();
    for (int64_t i = 0; i < n; ++i) {
      const double u = (distribution(values[i]) - distribution(alpha)) / mass;
      bins[static_cast<size_t>(std::min(63.0, std::max(0.0, 64 * u)))] += 1;
    }
    double chi = 0;
    for (const double count : bins) chi += (count - n / 64.0) * (count - n / 64.0) / (n / 64.0);
    EXPECT_LE(chi, 133.4) << a << ' ' << b;
  }
}

TEST(TruncNormal, FarTailsOnBothSidesAreExact) {
  const auto moments = [](double a, double b) {
    const torch::Tensor t = trunc_normal_(torch::empty({1 << 16}, torch::kDouble), 0, 1, a, b, Key(1));
    EXPECT_GE(t.min().item<double>(), a);
    EXPECT_LE(t.max().item<double>(), b);
    return std::pair(t.mean().item<double>(), t.var().item<double>());
  };
  // Mean and variance of a normal number in [3, 4]: 3.2600, 0.0478; mirrored; in [-8, -7]: -7.1391, 0.0177.
  const auto [mean, var] = moments(3, 4);
  EXPECT_NEAR(mean, 3.2600, 5 * std::sqrt(0.048 / (1 << 16)) + 1e-3);
  EXPECT_NEAR(var, 0.0478, 2e-3);
  const auto [low, low_var] = moments(-4, -3);
  EXPECT_NEAR(low, -3.2600, 5 * std::sqrt(0.048 / (1 << 16)) + 1e-3);
  EXPECT_NEAR(low_var, 0.0478, 2e-3);
  EXPECT_NEAR(moments(-8, -7).first, -7.1374, 3e-3);
}

TEST(TruncNormal, BoundsOfTheTfFormAreInStandardDeviations) {
  const torch::Tensor t = trunc_normal_tf_(torch::empty({1 << 18}), 1, 0.02, -2, 2, Key(1)) - 1;
  EXPECT_LE(t.abs().max().item<double>(), 0.04);
  expect_variance(t, 0.02 * 0.87962566103423978, 2.3655);
  for (const torch::Dtype dtype : {torch::kBFloat16, torch::kHalf, torch::kFloat}) {
    const torch::Tensor half = trunc_normal_(torch::empty({1 << 16}, dtype), 0, 1, -0.7, 0.7, Key(1)).to(torch::kDouble);
    EXPECT_LE(half.abs().max().item<double>(), 0.7);
    EXPECT_GE(half.abs().max().item<double>(), 0.69);
  }
}

TEST(TruncNormal, Errors) {
  const auto error = [](double std, double a, double b) {
    return message_of([=] { trunc_normal_(torch::empty({2}), 0, std, a, b, Key()); });
  };
  EXPECT_EQ(error(0, -2, 2), "[trunc_normal] std must be > 0, got 0");
  EXPECT_EQ(error(1, 2, 2), "[trunc_normal] a must be < b, got 2 and 2");
  EXPECT_EQ(message_of([] { trunc_normal_(torch::empty({2}, torch::kBFloat16), 0, 1, 1.001, 1.002, Key()); }),
            "[trunc_normal] [a, b] must hold a value of t's type, got the neighbours 1 and 1.00781");
  EXPECT_EQ(error(1, 100, 101), "[trunc_normal] [a, b] must hold some of the mass, got [100, 101], mean 0, std 1");
}

TEST(Kaiming, VarianceIsThatOfTheFormula) {
  uint64_t seed = 0;
  const std::vector<std::vector<int64_t>> shapes = {{256, 512}, {10, 512}, {64, 32, 3, 3}, {512, 64, 1, 1}, {96, 16, 5, 5}, {64, 3, 7, 7},
                                                    {32, 8, 9},  {16, 4, 3, 3, 3}, {128, 64, 3, 1}, {768, 192}, {8, 2048}, {400, 24, 2, 2}};
  for (const std::vector<int64_t>& shape : shapes) {
    const auto empty = [&] { return torch::empty(shape); };
    for (int64_t groups : {int64_t{1}, int64_t{2}, shape[0]}) {
      const FanOptions fan{.groups = groups};
      // By hand: inputs and outputs of one unit.
      double kernel = 1;
      for (size_t i = 2; i < shape.size(); ++i) kernel *= static_cast<double>(shape[i]);
      const double in = static_cast<double>(shape[1]) * kernel, out = static_cast<double>(shape[0]) / static_cast<double>(groups) * kernel;
      expect_variance(kaiming_normal_(empty(), {.fan = fan}, Key(++seed)), std::sqrt(2 / in), 3);
      expect_variance(kaiming_normal_(empty(), {.mode = FanMode::out, .fan = fan}, Key(++seed)), std::sqrt(2 / out), 3);
      expect_variance(xavier_normal_(empty(), 2, fan, Key(++seed)), 2 * std::sqrt(2 / (in + out)), 3);
      expect_variance(variance_scaling_(empty(), {.scale = 3, .mode = FanMode::avg, .distribution = Distribution::uniform, .fan = fan}, Key(++seed)),
                      std::sqrt(6 / (in + out)), 1.8);
      expect_variance(lecun_uniform_(empty(), fan, Key(++seed)), std::sqrt(1 / in), 1.8);
    }
    const Fans f = fans(shape);
    expect_variance(kaiming_uniform_(empty(), {.act = Act::leaky_relu, .a = std::sqrt(5.0)}, Key(++seed)),
                    std::sqrt(1 / (3 * f.in)), 1.8);
    expect_variance(kaiming_normal_(empty(), {.act = Act::tanh, .rule = GainRule::second_moment}, Key(++seed)),
                    1.5925374197228314 / std::sqrt(f.in), 3);
    const torch::Tensor u = xavier_uniform_(empty(), 1, {}, Key(++seed));
    expect_variance(u, std::sqrt(2 / (f.in + f.out)), 1.8);
    EXPECT_LE(u.abs().max().item<double>(), std::sqrt(6 / (f.in + f.out)));
    const torch::Tensor l = lecun_normal_(empty(), {}, Key(++seed));
    expect_variance(l, std::sqrt(1 / f.in), 2.3655);
    EXPECT_LE(l.abs().max().item<double>(), 2.2738 / std::sqrt(f.in));
  }
  expect_variance(kaiming_normal_(torch::empty({640, 1, 3, 3}), {.mode = FanMode::out, .fan = {.groups = 640}}, Key(9)),
                  std::sqrt(2.0 / 9), 3);
}

TEST(Kaiming, Errors) {
  EXPECT_EQ(message_of([] { kaiming_normal_(torch::empty({2, 2}), {.a = std::numeric_limits<double>::quiet_NaN()}, Key()); }),
            "[kaiming] a must be finite, got nan");
  EXPECT_EQ(message_of([] { xavier_normal_(torch::empty({2, 2}), -1, {}, Key()); }), "[xavier] gain must be > 0, got -1");
  EXPECT_EQ(message_of([] { variance_scaling_(torch::empty({2, 2}), {.scale = 0}, Key()); }),
            "[variance_scaling] scale must be > 0, got 0");
  EXPECT_EQ(message_of([] { lecun_normal_(torch::empty({64}), {}, Key()); }),
            "[fan] weight must have at least 2 dimensions, got (64)");
}

TEST(Kaiming, KeepsTheSignalThroughThirtyLayersAndOthersDoNot) {
  const auto variance_after = [](const std::function<void(torch::Tensor, Key)>& fill) {
    double log_sum = 0;
    for (uint64_t k = 0; k < 5; ++k) {
      torch::Tensor x = normal_(torch::empty({64, 256}, torch::kDouble), 0, 1, Key(k).fold_in("x"));
      for (uint64_t layer = 0; layer < 30; ++layer) {
        torch::Tensor w = torch::empty({256, 256}, torch::kDouble);
        fill(w, Key(k).fold_in(layer));
        x = at::linear(layer ? x.relu() : x, w);
      }
      log_sum += std::log(x.square().mean().item<double>());
    }
    return std::exp(log_sum / 5);
  };
  const double he = variance_after([](torch::Tensor w, Key key) { kaiming_normal_(w, {}, key); });
  EXPECT_GT(he, 0.3);
  EXPECT_LT(he, 10);
  EXPECT_LT(variance_after([](torch::Tensor w, Key key) { xavier_normal_(w, 1, {}, key); }), 1e-7);
}

}  // namespace
}  // namespace ballast
