#include <ballast/train/libtorch.h>
#include <gtest/gtest.h>
#include <torch/version.h>

namespace ballast {
namespace {

TEST(LibTorch, VersionIsThatOfTheHeaders) { EXPECT_EQ(libtorch_version(), TORCH_VERSION); }

// Debian's takes whatever libblas.so.3 is, which decides bits and speed; the wheel has its own.
TEST(LibTorch, BlasHasAName) {
  const std::string name = blas_name();
  if (libtorch_version().starts_with("2.")) {
    EXPECT_EQ(name, "BLAS of LibTorch");
  } else {
    EXPECT_TRUE(name.starts_with("OpenBLAS 0.") || name.starts_with("BLIS ") || name.starts_with("/")) << name;
  }
}

// Without -fopenmp in this project's own files at::parallel_for is silently serial.
TEST(LibTorch, ParallelForRunsOnSeveralThreads) {
  if (at::get_num_threads() < 2) at::set_num_threads(2);
  std::atomic<int> chunks{0};
  at::parallel_for(0, 1 << 20, 1, [&](int64_t, int64_t) { ++chunks; });
  EXPECT_GE(chunks.load(), 2);
}

}  // namespace
}  // namespace ballast
