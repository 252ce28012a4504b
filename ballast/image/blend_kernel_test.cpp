#include <ballast/image/blend_kernel.h>

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include <ballast/base/cpu.h>

namespace ballast::detail {
namespace {

TEST(BlendKernel, EqualsItsReferenceForEveryLengthInPlaceToo) {
  for (const std::string& target : simd_targets()) {
    SCOPED_TRACE(target);
    force_simd_target(target);
    for (size_t n = 0; n <= 67; ++n) {
      for (const size_t offset : {0, 1, 3}) {
        std::vector<float> a(n + offset), b(n + offset), want(n + offset + 1, -9), got = want;
        for (size_t i = 0; i < a.size(); ++i) {
          a[i] = static_cast<float>(std::sin(static_cast<double>(i)) * 3);
          b[i] = static_cast<float>(std::cos(static_cast<double>(7 * i)));
        }
        blend_reference(a.data() + offset, b.data() + offset, 0.3F, want.data() + offset, n);
        blend(a.data() + offset, b.data() + offset, 0.3F, got.data() + offset, n);
        ASSERT_EQ(got, want) << n << ' ' << offset;
        blend(a.data() + offset, b.data() + offset, 0.3F, a.data() + offset, n);
        for (size_t i = offset; i < a.size(); ++i) ASSERT_EQ(a[i], want[i]);
      }
    }
  }
  force_simd_target("");
}

}  // namespace
}  // namespace ballast::detail
