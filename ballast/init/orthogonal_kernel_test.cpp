#include <ballast/init/orthogonal_kernel.h>

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <vector>

#include <ballast/base/key.h>

namespace ballast {
namespace {

TEST(OrthogonalKernel, EqualsTheReferenceBitForBitOnEveryTarget) {
  for (int64_t targets = hwy::SupportedTargets(); targets != 0; targets &= targets - 1) {
    hwy::SetSupportedTargetsForTest(targets & -targets);
    for (size_t length : {1, 7, 8, 9, 31, 64, 67, 300}) {
      for (size_t rows : {1, 3, 4, 9}) {
        for (size_t count : {0, 1, 5, 17, 70}) {
          std::vector<double> v(rows * length + 1), q(count * length + 1), c(rows * (count + 2) + 1, 7.0);
          fill_normal(Key(1), 0, v);
          fill_normal(Key(2), 0, q);
          std::vector<double> v2 = v, c2 = c;
          dot_products(v.data(), rows, q.data(), count, length, c.data(), count + 2);
          dot_products_reference(v.data(), rows, q.data(), count, length, c2.data(), count + 2);
          ASSERT_EQ(c, c2) << hwy::TargetName(targets & -targets) << ' ' << rows << 'x' << length << ", " << count;
          const size_t begin = length / 3, end = length - length / 4;
          subtract_products(v.data(), rows, q.data(), count, length, c.data(), count + 2, begin, end);
          subtract_products_reference(v2.data(), rows, q.data(), count, length, c.data(), count + 2, begin, end);
          ASSERT_EQ(v, v2) << hwy::TargetName(targets & -targets) << ' ' << rows << 'x' << length << ", " << count;
        }
      }
    }
  }
  hwy::SetSupportedTargetsForTest(0);
}

}  // namespace
}  // namespace ballast
