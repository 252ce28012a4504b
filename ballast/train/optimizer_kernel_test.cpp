#include <ballast/train/optimizer_kernel.h>

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>
#include <hwy/targets.h>

namespace ballast {
namespace {

struct Buffers {
  std::vector<float> w, g, m, v;
};

Buffers make(size_t n, size_t offset) {
  Buffers b;
  for (std::vector<float>* x : {&b.w, &b.g, &b.m, &b.v}) {
    x->assign(n + offset + 1, 0);
  }
  for (size_t i = 0; i < n + offset + 1; ++i) {
    const auto f = static_cast<float>(i);
    b.w[i] = std::sin(f * 1.7F);
    b.g[i] = std::cos(f * 0.9F) * 0.3F;
    b.m[i] = std::sin(f * 0.3F);
    b.v[i] = std::abs(std::sin(f)) + 1e-3F;
  }
  return b;
}

// Every target of this machine in turn.
template <class Fn>
void for_each_target(Fn fn) {
  const int64_t supported = hwy::SupportedTargets();
  for (int64_t targets = supported; targets != 0; targets &= targets - 1) {
    hwy::SetSupportedTargetsForTest(targets & -targets);
    fn(hwy::TargetName(targets & -targets));
  }
  hwy::SetSupportedTargetsForTest(0);
}

TEST(OptimizerKernel, SgdEqualsTheReferenceBitForBit) {
  for_each_target([](const char* target) {
    for (const bool nesterov : {false, true}) {
      for (const bool first : {false, true}) {
        for (const size_t offset : {size_t{0}, size_t{1}, size_t{3}}) {
          for (size_t n = 0; n <= 67; ++n) {
            const SgdStep s{.lr = 0.1F, .momentum = 0.9F, .weight_decay = 0.01F, .nesterov = nesterov, .first = first};
            Buffers a = make(n, offset);
            Buffers b = a;
            sgd_update(a.w.data() + offset, a.g.data() + offset, a.v.data() + offset, n, s, 0.5F);
            sgd_update_reference(b.w.data() + offset, b.g.data() + offset, b.v.data() + offset, n, s, 0.5F);
            ASSERT_EQ(a.w, b.w) << target << " n " << n;
            ASSERT_EQ(a.v, b.v) << target << " n " << n;
          }
        }
      }
    }
  });
}

TEST(OptimizerKernel, AdamEqualsTheReferenceBitForBit) {
  for_each_target([](const char* target) {
    for (const size_t offset : {size_t{0}, size_t{1}, size_t{3}}) {
      for (size_t n = 0; n <= 67; ++n) {
        const AdamStep s{.beta2 = 0.999F, .rest1 = 0.1F, .rest2 = 0.001F, .eps = 1e-8F, .step_size = 0.01F, .root_bc2 = 0.3F, .weight_decay = 0.02F, .shrink = 0.99F};
        Buffers a = make(n, offset);
        Buffers b = a;
        adam_update(a.w.data() + offset, a.g.data() + offset, a.m.data() + offset, a.v.data() + offset, n, s, 0.5F);
        adam_update_reference(b.w.data() + offset, b.g.data() + offset, b.m.data() + offset, b.v.data() + offset, n, s, 0.5F);
        ASSERT_EQ(a.w, b.w) << target << " n " << n;
        ASSERT_EQ(a.m, b.m) << target << " n " << n;
        ASSERT_EQ(a.v, b.v) << target << " n " << n;
      }
    }
  });
}

TEST(OptimizerKernel, SgdByHand) {
  float w = 1, v = 2;
  const float g = 4;
  sgd_update(&w, &g, &v, 1, {.lr = 0.5F, .momentum = 0.5F, .weight_decay = 1, .nesterov = true}, 1);
  EXPECT_EQ(v, 6);   // 0.5 * 2 + (4 + 1)
  EXPECT_EQ(w, -3);  // 1 - 0.5 * (5 + 0.5 * 6)
}

TEST(OptimizerKernel, SumOfSquaresHasTheSameBitsOnEveryTarget) {
  for_each_target([](const char* target) {
    for (size_t n = 0; n <= 67; ++n) {
      const Buffers b = make(n, 3);
      EXPECT_EQ(sum_squares(b.w.data() + 3, n), sum_squares_reference(b.w.data() + 3, n)) << target << " n " << n;
    }
  });
}

TEST(OptimizerKernel, SumOfSquaresIsNotFiniteExactlyIfAnElementIsNot) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (size_t n = 1; n <= 20; ++n) {
      for (size_t i = 0; i < n; ++i) {
        std::vector<float> g(n, 1);
        g[i] = bad;
        EXPECT_FALSE(std::isfinite(sum_squares(g.data(), n)));
      }
    }
  }
  const std::vector<float> large(1000, std::numeric_limits<float>::max());
  EXPECT_TRUE(std::isfinite(sum_squares(large.data(), large.size())));
}

}  // namespace
}  // namespace ballast
