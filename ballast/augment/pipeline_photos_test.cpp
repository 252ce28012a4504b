#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <new>

#include <ballast/augment/pipeline.h>
#include <ballast/base/cpu.h>
#include <ballast/image/decode.h>
#include <ballast/image/resize.h>

namespace {
std::atomic<long> allocations{0};
// Not inlined: g++ takes free() beside a new that it does not see through for a mistake.
[[gnu::noinline]] void release(void* p) { std::free(p); }
}  // namespace

// Counts every allocation through operator new in this process, the library's included.
void* operator new(size_t n) {
  ++allocations;
  if (void* p = std::malloc(n == 0 ? 1 : n)) return p;
  throw std::bad_alloc();
}
// A sanitizer's form that does not throw would not come here.
void* operator new(size_t n, const std::nothrow_t&) noexcept { return operator new(n); }
void operator delete(void* p) noexcept { release(p); }
void operator delete(void* p, size_t) noexcept { release(p); }

namespace ballast {
namespace {

std::vector<std::vector<std::byte>> photos() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(BALLAST_TEST_SOURCE_DIR "/tests/photos")) {
    if (entry.path().extension() == ".jpg") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::vector<std::byte>> files;
  for (const auto& path : paths) {
    std::ifstream in(path, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    files.emplace_back(text.size());
    std::memcpy(files.back().data(), text.data(), text.size());
  }
  return files;
}

TEST(PipelinePhotos, RegionsAreDecodedAsIfFromTheWholePicture) {
  const auto files = photos();
  ASSERT_EQ(files.size(), 24U);
  const Pipeline pipeline = Pipeline::parse("rrc(96) | hflip");
  for (size_t i = 0; i < files.size(); ++i) {
    const Image whole = decode(files[i]);
    for (uint64_t n = 0; n < 3; ++n) {
      const Key key = Key(21).fold_in(i).fold_in(n);
      EXPECT_TRUE(equal_pixels(pipeline.preview(files[i], key), pipeline.preview(whole, key))) << i;
    }
  }
}

TEST(PipelinePhotos, BatchesAreTheSameOnEveryInstructionSet) {
  const auto files = photos();
  Pipeline pipeline = Pipeline::parse("rrc(64, interpolation=random) | hflip | normalize(imagenet)");
  std::vector<float> first;
  for (const std::string& target : simd_targets()) {
    force_simd_target(target);
    BatchSlot slot(static_cast<int64_t>(files.size()), 3, 64, 64, Layout::hwc);
    Scratch scratch;
    for (size_t i = 0; i < files.size(); ++i) {
      pipeline.run_encoded(files[i], Key(3).fold_in(i), slot, static_cast<int64_t>(i), scratch);
    }
    const std::vector<float> all(slot.data, slot.data + slot.n * slot.sample_size());
    if (first.empty()) first = all;
    EXPECT_EQ(std::memcmp(all.data(), first.data(), all.size() * sizeof(float)), 0) << target;
  }
  force_simd_target("");
}

TEST(PipelinePhotos, NoSampleAllocatesOnceBuffersHaveGrown) {
  const auto files = photos();
  Pipeline pipeline = Pipeline::parse("rrc(64) | hflip");
  BatchSlot slot(1, 3, 64, 64, Layout::chw);
  Scratch scratch;
  const auto epoch = [&](uint64_t e) {
    for (size_t i = 0; i < files.size(); ++i) {
      pipeline.run_encoded(files[i], Key(e % 20).fold_in(i), slot, 0, scratch);
    }
  };
  for (uint64_t e = 0; e < 20; ++e) epoch(e);
  const long before = allocations;
  for (uint64_t e = 0; e < 20; ++e) epoch(e);
  EXPECT_EQ(allocations - before, 0);
}

}  // namespace
}  // namespace ballast
