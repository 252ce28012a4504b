#include <ballast/control/stop_reason.h>

#include <gtest/gtest.h>

namespace ballast {
namespace {

TEST(StopReason, NamesAreTheEnumerators) {
  EXPECT_EQ(stop_reason_name(StopReason::completed), "completed");
  EXPECT_EQ(stop_reason_name(StopReason::target_reached), "target_reached");
  EXPECT_EQ(stop_reason_name(StopReason::storage), "storage");
  for (int i = 0; i <= static_cast<int>(StopReason::storage); ++i) {
    const auto reason = static_cast<StopReason>(i);
    EXPECT_EQ(stop_reason(stop_reason_name(reason)), reason);
    EXPECT_FALSE(stop_reason_text(reason).empty());
  }
  EXPECT_FALSE(stop_reason("Completed"));
}

TEST(StopReason, InterruptionsAreNotFinal) {
  for (const auto r :
       {StopReason::session_time, StopReason::signal, StopReason::peer_lost, StopReason::storage}) {
    EXPECT_FALSE(is_final(r));
  }
  for (const auto r :
       {StopReason::completed, StopReason::patience, StopReason::max_time, StopReason::diverged}) {
    EXPECT_TRUE(is_final(r));
  }
}

}  // namespace
}  // namespace ballast
