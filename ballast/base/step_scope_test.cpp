#include <ballast/base/step_scope.h>
#include <gtest/gtest.h>

#include <thread>

namespace ballast {
namespace {

TEST(StepScope, NestsAndEnds) {
  EXPECT_EQ(StepScope::current(), nullptr);
  {
    const StepScope outer(7, 0, 3, 64);
    EXPECT_EQ(StepScope::current(), &outer);
    EXPECT_EQ(outer.key(), Key(7));
    EXPECT_EQ(outer.step(), 3u);
    EXPECT_EQ(outer.first_row(), 64);
    {
      const StepScope inner(7, 2, 3);
      EXPECT_EQ(StepScope::current(), &inner);
      EXPECT_EQ(inner.key(), Key(7).fold_in("attempt").fold_in(2));
      EXPECT_NE(inner.serial(), outer.serial());
    }
    EXPECT_EQ(StepScope::current(), &outer);
  }
  EXPECT_EQ(StepScope::current(), nullptr);
}

TEST(StepScope, BelongsToItsThread) {
  const StepScope scope(1, 0, 0);
  const StepScope* seen = &scope;
  std::thread([&] { seen = StepScope::current(); }).join();
  EXPECT_EQ(seen, nullptr);
}

}  // namespace
}  // namespace ballast
