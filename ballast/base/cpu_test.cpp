#include <ballast/base/cpu.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <stdexcept>

namespace ballast {
namespace {

TEST(Cpu, TargetsEndWithScalarAndHoldTheActiveOne) {
  const auto targets = simd_targets();
  ASSERT_FALSE(targets.empty());
  EXPECT_EQ(targets.back(), "scalar");
  EXPECT_THAT(targets, testing::Contains(simd_target()));
}

TEST(Cpu, EveryTargetCanBeForcedAndReleased) {
  const std::string best = simd_target();
  for (const std::string& name : simd_targets()) {
    force_simd_target(name);
    EXPECT_EQ(simd_target(), name);
  }
  force_simd_target("");
  EXPECT_EQ(simd_target(), best);
}

TEST(Cpu, UnknownTargetIsAnErrorWithTheChoices) {
  try {
    force_simd_target("mmx");
    FAIL() << "did not throw";
  } catch (const std::invalid_argument& e) {
    EXPECT_THAT(e.what(),
                testing::AllOf(testing::HasSubstr("[cpu] BALLAST_FORCE_TARGET must be one of "),
                               testing::HasSubstr("scalar, got \"mmx\"")));
  }
}

TEST(Cpu, UsableCoresFollowTheAffinityMask) {
  EXPECT_GE(usable_cores(), 1);
  cpu_set_t before;
  CPU_ZERO(&before);
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  EXPECT_LE(usable_cores(), CPU_COUNT(&before));
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &before)) {
      CPU_SET(i, &one);
      break;
    }
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(usable_cores(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

TEST(Cpu, CgroupLimits) {
  EXPECT_EQ(detail::parse_cpu_max("max 100000\n"), 0.0);
  EXPECT_EQ(detail::parse_cpu_max("150000 100000\n"), 1.5);
  EXPECT_EQ(detail::parse_cpu_max(""), 0.0);
  EXPECT_EQ(detail::parse_cpu_quota("-1\n", "100000\n"), 0.0);
  EXPECT_EQ(detail::parse_cpu_quota("50000\n", "100000\n"), 0.5);
}

TEST(Cpu, NameIsOneLine) { EXPECT_EQ(cpu_name().find('\n'), std::string::npos); }

}  // namespace
}  // namespace ballast
