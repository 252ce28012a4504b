#include <ballast/augment/batch_slot.h>

#include <cstdint>
#include <string>

#include <gtest/gtest.h>

#include <ballast/base/test_message.h>

namespace ballast {
namespace {

TEST(BatchSlot, IsAlignedAndKeepsItsMemory) {
  BatchSlot slot(8, 3, 7, 5, Layout::chw);
  EXPECT_EQ(slot.sample_size(), 105);
  EXPECT_EQ(slot.row(2), slot.data + 210);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(slot.data) % 64, 0U);
  const float* before = slot.data;
  slot.label[3] = 4;
  slot.lambda[3] = 0.5F;
  slot.mixed = true;
  slot.reset(4, 3, 7, 5, Layout::hwc);
  EXPECT_EQ(slot.data, before) << "it was large enough";
  EXPECT_EQ(slot.n, 4);
  EXPECT_EQ(slot.layout, Layout::hwc);
  EXPECT_EQ(slot.label, std::vector<int64_t>(4, 0));
  EXPECT_EQ(slot.lambda, std::vector<float>(4, 1.0F));
  EXPECT_EQ(slot.weight, std::vector<float>(4, 1.0F));
  EXPECT_FALSE(slot.mixed);
  // From 4 MiB on a huge page can hold it.
  slot.reset(2, 3, 600, 600, Layout::chw);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(slot.data) % (2 << 20), 0U);
  slot.data[slot.n * slot.sample_size() - 1] = 1;
}

TEST(BatchSlot, BorrowsMemoryOfSomebodyElse) {
  float values[24] = {};
  BatchSlot slot;
  slot.borrow(values, 2, 3, 2, 2, Layout::chw);
  slot.row(1)[11] = 7;
  EXPECT_EQ(values[23], 7);
  EXPECT_EQ(slot.capacity, 2);
  slot.reset(1, 1, 2, 2, Layout::chw);
  EXPECT_NE(slot.data, values);
}

TEST(BatchSlot, MayBeEmpty) {
  const BatchSlot none(0, 3, 4, 4, Layout::chw), flat(2, 1, 0, 4, Layout::hwc);
  EXPECT_EQ(none.n, 0);
  EXPECT_EQ(flat.sample_size(), 0);
}

TEST(BatchSlot, ErrorsSayWhatIsRequired) {
  EXPECT_EQ(message_of([] { BatchSlot(1, 2, 4, 4, Layout::chw); }), "[batch_slot] channels must be 1, 3 or 4, got 2");
  EXPECT_EQ(message_of([] { BatchSlot(-1, 3, 4, 4, Layout::chw); }), "[batch_slot] sizes must not be negative, got -1x3x4x4");
  EXPECT_EQ(message_of([] { BatchSlot(int64_t{1} << 40, 3, 4, 4, Layout::chw); }),
            "[batch_slot] at most 2^40 values, got 1099511627776x3x4x4");
}

}  // namespace
}  // namespace ballast
