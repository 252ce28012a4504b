#include <ballast/train/allocator.h>

#include <cstring>
#include <thread>
#include <vector>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <ballast/train/size_class.h>

namespace ballast {
namespace {

TEST(SizeClass, EveryClassHoldsWhatItIsAskedForAndAtMostAQuarterMore) {
  for (size_t n = 1; n < 100000; ++n) {
    const uint32_t c = size_class(n);
    ASSERT_GE(size_class_bytes(c), n);
    if (c > 0) {
      ASSERT_LT(size_class_bytes(c - 1), n);
      ASSERT_LT(size_class_bytes(c), n + n / 4 + 1);
    }
  }
  EXPECT_EQ(size_class_bytes(0), 64U);
  EXPECT_EQ(size_class_bytes(size_class(size_t{1} << 55)), size_t{1} << 55);
  EXPECT_LT(size_class(size_t{1} << 56), kSizeClasses);
}

class Allocator : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { install_caching_allocator({.cap = size_t{2} << 30}); }
};

TEST_F(Allocator, BlocksAreAlignedAndReused) {
  const uint64_t before = allocator_stats().system;
  for (const int64_t n : {int64_t{1}, int64_t{17}, int64_t{1000}, int64_t{100000}, int64_t{600000}, int64_t{5000000}}) {
    void* first = nullptr;
    for (int i = 0; i < 3; ++i) {
      torch::Tensor t = torch::empty({n});
      EXPECT_EQ(reinterpret_cast<uintptr_t>(t.data_ptr()) % 64, 0U);
      std::memset(t.data_ptr(), 0xff, static_cast<size_t>(n) * 4);
      if (i == 0) {
        first = t.data_ptr();
      }
      EXPECT_EQ(t.data_ptr(), first) << "last in, first out";
    }
  }
  EXPECT_LE(allocator_stats().system - before, 6U + 6U);  // one a size, and few for the tensors themselves
  EXPECT_TRUE(allocator_stats().installed);
}

TEST_F(Allocator, CountsBytesAndEmptiesItsCache) {
  empty_allocator_cache();
  const size_t in_use = allocator_stats().in_use;
  {
    torch::Tensor t = torch::empty({1 << 20});
    EXPECT_EQ(allocator_stats().in_use, in_use + (size_t{4} << 20));
  }
  EXPECT_EQ(allocator_stats().in_use, in_use);
  EXPECT_GE(allocator_stats().cached, size_t{4} << 20);
  empty_allocator_cache();
  EXPECT_EQ(allocator_stats().cached, 0U);
}

TEST_F(Allocator, ALargerBlockServesIfItIsLessThanTwiceTheSize) {
  empty_allocator_cache();
  void* first = torch::empty({1 << 20}).data_ptr();
  const uint64_t before = allocator_stats().system;
  const size_t in_use = allocator_stats().in_use;
  {
    torch::Tensor t = torch::empty({(1 << 20) - (1 << 18)});
    EXPECT_EQ(t.data_ptr(), first);
    EXPECT_EQ(allocator_stats().in_use, in_use + (size_t{4} << 20)) << "all of the block is in use";
    EXPECT_EQ(allocator_stats().cached, 0U);
  }
  EXPECT_EQ(allocator_stats().system, before);
  EXPECT_NE(torch::empty({1 << 19}).data_ptr(), first) << "half of it would be lost";
  EXPECT_EQ(torch::empty({1 << 20}).data_ptr(), first) << "it is still of its own class";
}

TEST_F(Allocator, PastTheCapItThrowsAndGoesOn) {
  EXPECT_THROW(torch::empty({int64_t{1} << 30}), c10::Error);
  EXPECT_NO_THROW(torch::empty({1 << 20}));
}

TEST_F(Allocator, ASecondInstallationChangesNothing) {
  install_caching_allocator({.cap = 1});
  EXPECT_EQ(allocator_stats().cap, size_t{2} << 30);
}

TEST_F(Allocator, ThreadsMayAllocateAndFreeEachOthersBlocks) {
  std::vector<torch::Tensor> shared(64);
  const size_t in_use = allocator_stats().in_use;
  for (int round = 0; round < 20; ++round) {
    std::vector<std::thread> threads;
    for (size_t k = 0; k < 4; ++k) {
      threads.emplace_back([&, k] {
        for (size_t i = k; i < shared.size(); i += 4) {
          const size_t j = (i + static_cast<size_t>(round)) % shared.size();
          shared[j] = torch::full({static_cast<int64_t>(1000 * (j + 1))}, static_cast<float>(j));
        }
      });
    }
    for (std::thread& t : threads) {
      t.join();
    }
    for (size_t j = 0; j < shared.size(); ++j) {
      ASSERT_EQ(shared[j].min().item<float>(), static_cast<float>(j));
      ASSERT_EQ(shared[j].max().item<float>(), static_cast<float>(j));
    }
  }
  shared.clear();
  EXPECT_EQ(allocator_stats().in_use, in_use);
}

}  // namespace
}  // namespace ballast
