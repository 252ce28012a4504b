#include <ballast/ensemble/roles.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include <ballast/base/check.h>

namespace ballast {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Roles, ALeakIsRefusedWithItsSize) {
  RoleLedger ledger;
  std::vector<uint64_t> select, calib;
  for (uint64_t i = 0; i < 3000; ++i) select.push_back(3000 - i);
  for (uint64_t i = 0; i < 2500; ++i) calib.push_back(2589 + i);
  ledger.use(DataRole::select, "the weights", select);
  EXPECT_THAT([&] { ledger.check_unused(DataRole::calib, calib); },
              ThrowsMessage<DataError>(HasSubstr("[roles] calib must not read rows used before: 412 of 2500 were used by \"select\" for the weights")));
  ledger.check_unused(DataRole::calib, std::span(calib).subspan(412));
  ledger.check_unused(DataRole::calib, {});
}

TEST(Roles, EveryRowHasOneRoleAndClassesKeepTheirShares) {
  std::vector<int32_t> label;
  for (int i = 0; i < 1000; ++i) label.push_back(i % 10 == 0 ? 1 : 0);
  const RoleParts a = draw_roles(label, 0.3, 0.2, Key(5));
  EXPECT_EQ(a.select.size(), 300);
  EXPECT_EQ(a.calib.size(), 200);
  EXPECT_EQ(a.test.size(), 500);
  std::set<size_t> all;
  for (const auto* part : {&a.select, &a.calib, &a.test}) {
    all.insert(part->begin(), part->end());
    const auto ones = std::ranges::count_if(*part, [&](size_t i) { return label[i] == 1; });
    EXPECT_EQ(static_cast<size_t>(ones) * 10, part->size());
  }
  EXPECT_EQ(all.size(), 1000);
  EXPECT_EQ(draw_roles(label, 0.3, 0.2, Key(5)).select, a.select);
  EXPECT_NE(draw_roles(label, 0.3, 0.2, Key(6)).select, a.select);
  EXPECT_THAT([&] { draw_roles(label, 0.7, 0.3, Key(1)); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("[roles] shares must be >= 0 and sum to less than 1, got select 0.7 and calib 0.3")));
  EXPECT_THAT([] { parse_data_role("val"); }, ThrowsMessage<std::invalid_argument>(HasSubstr("train, stop, select, calib, test, got \"val\"")));
}

}  // namespace
}  // namespace ballast
