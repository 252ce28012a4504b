#include <ballast/base/key_kernel.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <ballast/base/detmath.h>
#include <ballast/base/key.h>

namespace ballast {
namespace {

// Every target of this machine in turn.
template <class Fn>
void for_each_target(Fn fn) {
  for (int64_t targets = hwy::SupportedTargets(); targets != 0; targets &= targets - 1) {
    hwy::SetSupportedTargetsForTest(targets & -targets);
    fn(hwy::TargetName(targets & -targets));
  }
  hwy::SetSupportedTargetsForTest(0);
}

std::vector<uint64_t> bits_of(const std::vector<double>& x) {
  std::vector<uint64_t> bits;
  for (const double v : x) {
    bits.push_back(std::isnan(v) ? 1 : std::bit_cast<uint64_t>(v));
  }
  return bits;
}

TEST(KeyKernel, UniformsAreTheNumbersOfTheKey) {
  for_each_target([](const char* target) {
    for (const uint64_t key : {uint64_t{0}, uint64_t{0x123456789abcdef0}, ~uint64_t{0}}) {
      for (const uint64_t group : {uint64_t{0}, uint64_t{5}, (uint64_t{1} << 28) - 1, uint64_t{1} << 57}) {
        for (size_t groups = 0; groups <= 3; ++groups) {
          for (const size_t offset : {size_t{0}, size_t{1}, size_t{3}}) {
            std::vector<double> a(32 * groups + offset + 1, -1.0), b = a;
            uniform_groups(key, group, a.data() + offset, groups);
            uniform_groups_reference(key, group, b.data() + offset, groups);
            ASSERT_EQ(bits_of(a), bits_of(b)) << target << " group " << group;
          }
        }
      }
    }
  });
}

TEST(KeyKernel, QuantilesEqualTheScalarFunctionBitForBit) {
  const double inf = std::numeric_limits<double>::infinity();
  std::vector<double> x = {0.5, 0.075, std::nextafter(0.075, 0), 0.925, std::nextafter(0.925, 1), 0x1p-53, 1 - 0x1p-53, 0, 1, -0.25, 1.5,
                           std::nan(""), inf, -inf, 1e-300, 5e-324, 1e-310, 1.3e-11, 1.4e-11, 1e-20, 1 - 1e-12, std::exp(-25.0)};
  for (uint64_t i = 0; i < 200'000; ++i) {
    x.push_back(uniform(Key(3), i));
  }
  for (uint64_t i = 0; i < 20'000; ++i) {  // deep in the left tail
    x.push_back(std::exp(-700 * uniform(Key(4), i)));
  }
  std::vector<double> expected = x;
  normal_quantiles_reference(expected.data(), expected.size());
  for_each_target([&](const char* target) {
    std::vector<double> z = x;
    normal_quantiles(z.data(), z.size());
    ASSERT_EQ(bits_of(z), bits_of(expected)) << target;
    for (size_t n = 0; n <= 67; ++n) {
      for (const size_t offset : {size_t{0}, size_t{1}, size_t{3}}) {
        std::vector<double> a(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(n + offset + 1)), b = a;
        normal_quantiles(a.data() + offset, n);
        normal_quantiles_reference(b.data() + offset, n);
        ASSERT_EQ(bits_of(a), bits_of(b)) << target << " n " << n;
      }
    }
  });
}

TEST(KeyKernel, FillsBeginAnywhere) {
  for (const uint64_t first : {0, 1, 31, 32, 33, 1000}) {
    for (size_t n = 0; n <= 130; n += 13) {
      std::vector<double> u(n), z(n);
      fill_uniform(Key(7), first, u);
      fill_normal(Key(7), first, z);
      for (size_t i = 0; i < n; ++i) {
        ASSERT_EQ(u[i], uniform(Key(7), first + i));
        ASSERT_EQ(z[i], normal(Key(7), first + i));
      }
    }
  }
}

}  // namespace
}  // namespace ballast
