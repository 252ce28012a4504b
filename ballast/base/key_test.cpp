#include <ballast/base/detmath.h>
#include <ballast/base/key.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <vector>

namespace ballast {
namespace {

using Block = std::array<uint32_t, 4>;

TEST(Philox, KnownAnswersOfRandom123) {
  // kat_vectors of Random123: philox4x32 10.
  EXPECT_EQ(philox(Key(0), Block{0, 0, 0, 0}),
            (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(Key(~uint64_t{0}), Block{~0u, ~0u, ~0u, ~0u}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox(Key(0x299f31d0a4093822), Block{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Key, FoldInKnownAnswers) {
  EXPECT_EQ(Key(0).fold_in(1).bits(), 0x2c5ad55e6ee49d3cu);
  EXPECT_EQ(Key(42).fold_in("augment").fold_in(7).bits(), 0x49913cf0569e4cf6u);
}

TEST(Key, FoldsAreDistinct) {
  std::set<uint64_t> seen;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    seen.insert(Key(seed).bits());
    for (uint64_t x = 0; x < 50; ++x) {
      seen.insert(Key(seed).fold_in(x).bits());
      seen.insert(Key(seed).fold_in(std::to_string(x)).bits());
    }
  }
  EXPECT_EQ(seen.size(), 50u * 101u);
}

TEST(Key, OrderOfFoldsMatters) {
  EXPECT_NE(Key(1).fold_in(2).fold_in(3), Key(1).fold_in(3).fold_in(2));
  EXPECT_NE(Key(1).fold_in(""), Key(1).fold_in(0));
  EXPECT_EQ(Key(1).fold_in("a"), Key(1).fold_in(std::string("a")));
}

TEST(Bits, LayoutKnownAnswer) {
  const std::vector<uint16_t> expected = {0xe8d5, 0x6627, 0xc58d, 0xe169,
                                          0xac4c, 0xbc57, 0xdbd8, 0x9b00};
  for (uint64_t j = 0; j < 8; ++j) {
    EXPECT_EQ(bits16(Key(0), 16 * j), expected[j]);
  }
}

TEST(Bits, AllWidthsReadTheSameBlocks) {
  const Key key(3);
  for (uint64_t block = 0; block < 64; ++block) {
    const Block w = philox(key, block);
    const uint64_t t = block / 16;
    const uint64_t e = block % 16;
    for (uint64_t slot = 0; slot < 8; ++slot) {
      EXPECT_EQ(bits16(key, 128 * t + 16 * slot + e),
                static_cast<uint16_t>(w[slot / 2] >> (slot % 2 * 16)));
    }
    for (uint64_t slot = 0; slot < 4; ++slot) {
      EXPECT_EQ(bits32(key, 64 * t + 16 * slot + e), w[slot]);
    }
    for (uint64_t slot = 0; slot < 2; ++slot) {
      EXPECT_EQ(bits64(key, 32 * t + 16 * slot + e),
                static_cast<uint64_t>(w[2 * slot + 1]) << 32 | w[2 * slot]);
    }
  }
}

TEST(Uniform, IsExactAndOpen) {
  EXPECT_EQ(to_uniform(0), 0x1p-53);
  EXPECT_EQ(to_uniform(~uint64_t{0}), 1.0 - 0x1p-53);
  EXPECT_EQ(to_uniform(uint64_t{1} << 63), 0.5 + 0x1p-53);
}

TEST(Golden, SameNumbersOnEveryPlatform) {
  const Key key = Key(42).fold_in("golden");
  EXPECT_EQ(key.bits(), 0x4c0c39b81a50e81d);
  EXPECT_EQ(uniform(key, 5), 0x1.f13deb1fc16bap-2);
  EXPECT_EQ(normal(key, 5), -0x1.28027488b52a6p-5);
  EXPECT_EQ(slot_uniform(key, 3), 0x1.af627ac982dccp-3);
  EXPECT_EQ(slot_normal(key, 3, 1, 2), 0x1.3b1aec4c516aap-1);
  EXPECT_EQ(slot_below(key, 4, 1000), 703u);
  EXPECT_EQ(slot_beta(key, 5, 0.2, 0.2), 0x1.aa1eb42a0e7e5p-34);
  EXPECT_EQ(slot_beta(key, 5, 2.5, 4.0), 0x1.1ecabba21a61bp-2);
  double sum = 0.0;
  for (uint64_t i = 0; i < 10'000; ++i) {
    sum += normal(key, i);
  }
  EXPECT_EQ(sum, 0x1.5e1a3ebd5e57ep+6);
  const Permutation order(key, 10);
  std::vector<uint64_t> got;
  for (uint64_t i = 0; i < 10; ++i) {
    got.push_back(order(i));
  }
  EXPECT_EQ(got, (std::vector<uint64_t>{2, 0, 5, 4, 7, 6, 9, 8, 1, 3}));
}

TEST(Fill, EqualsOneByOneFromAnyStart) {
  const Key key(9);
  for (const uint64_t first : {0, 1, 31, 32, 45}) {
    for (const size_t n : {0, 1, 31, 32, 33, 100}) {
      std::vector<double> u(n);
      std::vector<double> z(n);
      fill_uniform(key, first, u);
      fill_normal(key, first, z);
      for (size_t j = 0; j < n; ++j) {
        ASSERT_EQ(u[j], uniform(key, first + j));
        ASSERT_EQ(z[j], normal(key, first + j));
      }
    }
  }
}

// Statistical tests: fixed keys, n = 100,000. Kolmogorov-Smirnov at false-alarm 1e-6: sqrt(ln(2e6)
// / 2n).
constexpr uint64_t kDraws = 100'000;

double ks_distance(std::vector<double> u) {
  std::sort(u.begin(), u.end());
  const auto n = static_cast<double>(u.size());
  double d = 0.0;
  for (size_t i = 0; i < u.size(); ++i) {
    d = std::max({d, u[i] - static_cast<double>(i) / n, static_cast<double>(i + 1) / n - u[i]});
  }
  return d;
}
double ks_bound(double n) { return std::sqrt(std::log(2e6) / (2.0 * n)); }

template <class Draw>
std::vector<double> collect(Draw draw) {
  std::vector<double> out(kDraws);
  for (uint64_t i = 0; i < kDraws; ++i) {
    out[i] = draw(i);
  }
  return out;
}

class Statistics : public testing::TestWithParam<uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Keys, Statistics, testing::Range<uint64_t>(0, 3));

TEST_P(Statistics, UniformIsUniform) {
  const Key key(GetParam());
  EXPECT_LT(ks_distance(collect([&](uint64_t i) { return uniform(key, i); })), ks_bound(kDraws));
  EXPECT_LT(ks_distance(collect([&](uint64_t i) { return slot_uniform(key.fold_in(i), 1); })),
            ks_bound(kDraws));
  EXPECT_LT(
      ks_distance(collect([&](uint64_t i) { return slot_uniform(key, static_cast<uint32_t>(i)); })),
      ks_bound(kDraws));
}

TEST_P(Statistics, NormalIsNormal) {
  const Key key(GetParam());
  const auto cdf = [](double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); };
  EXPECT_LT(ks_distance(collect([&](uint64_t i) { return cdf(normal(key, i)); })),
            ks_bound(kDraws));
  double sum = 0.0;
  double squares = 0.0;
  for (uint64_t i = 0; i < kDraws; ++i) {
    const double z = slot_normal(key.fold_in(i), 2);
    sum += z;
    squares += z * z;
  }
  const auto n = static_cast<double>(kDraws);
  EXPECT_LT(std::abs(sum / n), 5.0 / std::sqrt(n));
  EXPECT_LT(std::abs(squares / n - 1.0), 5.0 * std::sqrt(2.0 / n));
}

TEST_P(Statistics, NeighboursAreUncorrelated) {
  const Key key(GetParam());
  const auto correlation = [](auto x, auto y) {
    double sum = 0.0;
    for (uint64_t i = 0; i < kDraws; ++i) {
      sum += (x(i) - 0.5) * (y(i) - 0.5);
    }
    return 12.0 * sum / static_cast<double>(kDraws);
  };
  const double bound = 4.892 / std::sqrt(static_cast<double>(kDraws));
  const auto base = [&](uint64_t i) { return slot_uniform(key.fold_in(i), 1); };
  EXPECT_LT(
      std::abs(correlation(base, [&](uint64_t i) { return slot_uniform(key.fold_in(i + 1), 1); })),
      bound);
  EXPECT_LT(
      std::abs(correlation(base, [&](uint64_t i) { return slot_uniform(key.fold_in(i), 2); })),
      bound);
  EXPECT_LT(
      std::abs(correlation(base, [&](uint64_t i) { return slot_uniform(key.fold_in(i), 1, 1); })),
      bound);
  EXPECT_LT(std::abs(correlation(
                base, [&](uint64_t i) { return slot_uniform(key.fold_in(i), 1, 0, 1); })),
            bound);
}

TEST_P(Statistics, BernoulliAndEventsHaveTheirRate) {
  const Key key(GetParam());
  const auto n = static_cast<double>(kDraws);
  for (const double p : {0.01, 0.1, 0.5, 0.9}) {
    double a = 0.0;
    double b = 0.0;
    for (uint64_t i = 0; i < kDraws; ++i) {
      a += slot_bernoulli(key.fold_in(i), 0, p);
      b += event(key, i, p);
    }
    const double bound = 4.892 * std::sqrt(n * p * (1.0 - p));
    EXPECT_LT(std::abs(a - n * p), bound) << p;
    EXPECT_LT(std::abs(b - n * p), bound) << p;
  }
}

TEST_P(Statistics, BelowIsUniform) {
  const Key key(GetParam());
  for (const uint64_t n : {16, 32, 256}) {
    std::vector<double> count(n);
    for (uint64_t i = 0; i < kDraws; ++i) {
      count.at(slot_below(key.fold_in(i), 3, n)) += 1.0;
    }
    const double expected = static_cast<double>(kDraws) / static_cast<double>(n);
    double chi = 0.0;
    for (const double c : count) {
      chi += (c - expected) * (c - expected) / expected;
    }
    EXPECT_LT(chi, n == 16 ? 57.4 : n == 32 ? 84.2 : 377.0) << n;
  }
}

TEST_P(Statistics, BetaFollowsItsLaw) {
  const Key key(GetParam());
  const auto draws = [&](double a, double b) {
    return collect([&](uint64_t i) { return slot_beta(key.fold_in(i), 2, a, b); });
  };
  EXPECT_LT(ks_distance(draws(1.0, 1.0)), ks_bound(kDraws));
  // Laws with a closed form: Beta(1/2, 1/2) is the arcsine law, Beta(a, 1) has CDF x^a, Beta(2, 2)
  // 3x^2 - 2x^3.
  auto arcsine = draws(0.5, 0.5);
  for (double& x : arcsine) {
    x = 2.0 / 3.14159265358979323846 * std::asin(std::sqrt(x));
  }
  EXPECT_LT(ks_distance(arcsine), ks_bound(kDraws));
  auto power = draws(0.2, 1.0);
  for (double& x : power) {
    x = std::pow(x, 0.2);
  }
  EXPECT_LT(ks_distance(power), ks_bound(kDraws));
  auto cubic = draws(2.0, 2.0);
  for (double& x : cubic) {
    x = x * x * (3.0 - 2.0 * x);
  }
  EXPECT_LT(ks_distance(cubic), ks_bound(kDraws));
}

TEST(Beta, TinyAndHugeShapesStayInRange) {
  for (uint64_t i = 0; i < 200; ++i) {
    for (const double a : {1e-300, 1e-9, 0.01, 1e9}) {
      for (const double b : {5e-324, 1e-9, 0.01, 1e9}) {
        const double x = slot_beta(Key(i), 0, a, b);
        ASSERT_TRUE(x >= 0.0 && x <= 1.0) << a << ' ' << b << ' ' << x;
      }
    }
  }
}

TEST(Below, EdgesAndErrors) {
  EXPECT_EQ(slot_below(Key(1), 0, 1), 0u);
  const uint64_t huge = (uint64_t{1} << 63) + 1;  // rejects almost half of all draws
  for (uint32_t slot = 0; slot < 200; ++slot) {
    EXPECT_LT(slot_below(Key(1), slot, huge), huge);
  }
  EXPECT_THROW(slot_below(Key(1), 0, 0), std::invalid_argument);
}

TEST(Event, EdgesAndErrors) {
  for (uint64_t i = 0; i < 1000; ++i) {
    EXPECT_FALSE(event(Key(1), i, 0.0));
    EXPECT_TRUE(event(Key(1), i, 1.0));
  }
  EXPECT_THROW(event(Key(1), 0, 1.5), std::invalid_argument);
  EXPECT_THROW(event(Key(1), 0, std::nan("")), std::invalid_argument);
}

TEST(Beta, RefusesBadShapes) {
  EXPECT_THROW(slot_beta(Key(1), 0, 0.0, 1.0), std::invalid_argument);
  EXPECT_THROW(slot_beta(Key(1), 0, 1.0, std::nan("")), std::invalid_argument);
  EXPECT_THROW(slot_beta(Key(1), 0, INFINITY, 1.0), std::invalid_argument);
}

TEST(PermutationTest, IsABijectionForEveryLength) {
  for (uint64_t n = 0; n < 600; ++n) {
    const Permutation order(Key(n), n);
    EXPECT_EQ(order.size(), n);
    std::vector<bool> seen(n);
    for (uint64_t i = 0; i < n; ++i) {
      const uint64_t x = order(i);
      ASSERT_LT(x, n);
      ASSERT_FALSE(seen[x]);
      seen[x] = true;
    }
  }
}

TEST(PermutationTest, WorksForHugeLengths) {
  for (const uint64_t n : {(uint64_t{1} << 32) + 1, uint64_t{1} << 63, ~uint64_t{0}}) {
    const Permutation order(Key(1), n);
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < 1000; ++i) {
      EXPECT_LT(order(i), n);
      seen.insert(order(i));
      seen.insert(order(n - 1 - i));
    }
    EXPECT_EQ(seen.size(), 2000u);
  }
}

TEST(PermutationTest, RefusesPositionsBeyondTheEnd) {
  EXPECT_THROW(Permutation(Key(1), 0)(0), std::invalid_argument);
  EXPECT_THROW(Permutation(Key(1), 5)(5), std::invalid_argument);
}

TEST(PermutationTest, AllOrdersOfFourAreEquallyLikely) {
  std::map<std::vector<uint64_t>, double> count;
  const int keys = 24'000;
  for (int k = 0; k < keys; ++k) {
    const Permutation order(Key(static_cast<uint64_t>(k)).fold_in("order"), 4);
    count[{order(0), order(1), order(2), order(3)}] += 1.0;
  }
  ASSERT_EQ(count.size(), 24u);
  double chi = 0.0;
  for (const auto& [p, c] : count) {
    chi += (c - 1000.0) * (c - 1000.0) / 1000.0;
  }
  EXPECT_LT(chi, 71.0);  // 23 degrees of freedom, false alarm 1e-6
}

TEST(PermutationTest, EveryElementLandsEverywhere) {
  // Chi-square of element x position over many keys, n = 16: (n-1)^2 = 225 degrees of freedom.
  const uint64_t n = 16;
  std::vector<double> count(n * n);
  const int keys = 16'000;
  for (int k = 0; k < keys; ++k) {
    const Permutation order(Key(7).fold_in(static_cast<uint64_t>(k)), n);
    for (uint64_t i = 0; i < n; ++i) {
      count[i * n + order(i)] += 1.0;
    }
  }
  double chi = 0.0;
  for (const double c : count) {
    chi += (c - 1000.0) * (c - 1000.0) / 1000.0;
  }
  EXPECT_LT(chi, 340.0);
}

TEST(PermutationTest, NeighboursAreUncorrelated) {
  const uint64_t n = 60'000;
  const Permutation order(Key(3), n);
  double sum = 0.0;
  double with_position = 0.0;
  const auto centred = [&](uint64_t x) {
    return (static_cast<double>(x) + 0.5) / static_cast<double>(n) - 0.5;
  };
  for (uint64_t i = 0; i + 1 < n; ++i) {
    sum += centred(order(i)) * centred(order(i + 1));
    with_position += centred(order(i)) * centred(i);
  }
  const double bound = 4.892 / std::sqrt(static_cast<double>(n));
  EXPECT_LT(std::abs(12.0 * sum / static_cast<double>(n)), bound);
  EXPECT_LT(std::abs(12.0 * with_position / static_cast<double>(n)), bound);
}

}  // namespace
}  // namespace ballast
