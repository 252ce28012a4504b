#include <gtest/gtest.h>

#include <vector>

#include <ballast/augment/normalize_kernel.h>
#include <ballast/base/cpu.h>

namespace ballast {
namespace {

TEST(NormalizeRow, EqualsItsReferenceOnEveryTargetAndLength) {
  const float a[] = {0.0123F, 0.5F, 1.7F, 0.25F}, b[] = {-1.5F, 0.1F, 3.0F, -0.125F};
  for (const std::string& target : simd_targets()) {
    force_simd_target(target);
    for (const int c : {1, 3, 4}) {
      for (int w = 1; w <= 67; ++w) {
        for (const int offset : {0, 1, 3}) {
          std::vector<uint8_t> in(static_cast<size_t>(offset + w * c));
          for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<uint8_t>(i * 41 + 7);
          for (const bool flip : {false, true}) {
            for (const bool planar : {false, true}) {
              const ptrdiff_t plane = planar ? w + 2 : 0;
              const auto size = static_cast<size_t>((w + 2) * c + 4);
              std::vector<float> got(size, -77.0F), want = got;
              detail::normalize_row(in.data() + offset, w, c, flip, a, b, got.data(), plane);
              detail::normalize_row_reference(in.data() + offset, w, c, flip, a, b, want.data(), plane);
              ASSERT_EQ(got, want) << target << " " << w << "x" << c << (flip ? " flip" : "") << (planar ? " planar" : "");
            }
          }
        }
      }
    }
  }
  force_simd_target("");
}

}  // namespace
}  // namespace ballast
