#include <ballast/base/thread_pool.h>
#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

namespace ballast {
namespace {

TEST(ThreadPool, EveryIndexOnce) {
  for (const int threads : {1, 2, 4, 7}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (const int64_t n : {0, 1, 2, 1000}) {
      std::vector<std::atomic<int>> count(static_cast<size_t>(n));
      std::atomic<bool> in_range = true;
      pool.run(n, [&](int64_t i, int thread) {
        count[static_cast<size_t>(i)]++;
        if (thread < 0 || thread >= threads) {
          in_range = false;
        }
      });
      for (const auto& c : count) {
        EXPECT_EQ(c, 1);
      }
      EXPECT_TRUE(in_range);
    }
  }
}

TEST(ThreadPool, ThrowsTheErrorOfTheLowestIndexAndGoesOn) {
  ThreadPool pool(4);
  for (int repeat = 0; repeat < 50; ++repeat) {
    try {
      pool.run(200, [](int64_t i, int) {
        if (i >= 20) {
          throw std::runtime_error(std::to_string(i));
        }
      });
      FAIL() << "did not throw";
    } catch (const std::runtime_error& e) {
      EXPECT_STREQ(e.what(), "20");
    }
  }
  std::atomic<int64_t> sum = 0;
  pool.run(100, [&](int64_t i, int) { sum += i; });
  EXPECT_EQ(sum, 4950);
}

TEST(ThreadPool, RefusesNoThreads) { EXPECT_THROW(ThreadPool(0), std::invalid_argument); }

}  // namespace
}  // namespace ballast
