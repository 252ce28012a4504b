#include <ballast/data/loader.h>
#include <ballast/data/pack.h>
#include <ballast/data/test_data.h>
#include <ballast/image/test_files.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

// Counts every allocation by operator new of this program. In the steady state the loader makes none per sample.

namespace {
std::atomic<int64_t> allocations{0};

void* counted(size_t size, size_t alignment) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  void* p = alignment > alignof(std::max_align_t) ? std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)
                                                  : std::malloc(size == 0 ? 1 : size);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
// Not inlined: g++ takes free() beside a new that it does not see through for a mistake.
[[gnu::noinline]] void release(void* p) { std::free(p); }
}  // namespace

void* operator new(size_t size) { return counted(size, 0); }
void* operator new[](size_t size) { return counted(size, 0); }
// The library's own form that does not throw, or a sanitizer's, would not come here.
void* operator new(size_t size, const std::nothrow_t&) noexcept { return operator new(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return operator new[](size); }
void* operator new(size_t size, std::align_val_t a) { return counted(size, static_cast<size_t>(a)); }
void* operator new[](size_t size, std::align_val_t a) { return counted(size, static_cast<size_t>(a)); }
void operator delete(void* p) noexcept { release(p); }
void operator delete[](void* p) noexcept { release(p); }
void operator delete(void* p, size_t) noexcept { release(p); }
void operator delete[](void* p, size_t) noexcept { release(p); }
void operator delete(void* p, std::align_val_t) noexcept { release(p); }
void operator delete[](void* p, std::align_val_t) noexcept { release(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { release(p); }
void operator delete[](void* p, size_t, std::align_val_t) noexcept { release(p); }

namespace ballast {
namespace {

constexpr int kPictures = 1000;

/// Allocations of an epoch, after one that warms up.
int64_t allocations_of(const std::string& source, const std::string& pipeline, int workers) {
  const DataSet data = open_data({.source = source, .split_val = 0, .split_test = 0}, Key(1));
  Loader loader(data.role(Role::train), Pipeline::parse(pipeline), {.batch_size = 50, .channels = 3, .workers = workers});
  for (int warm = 0; warm < 3; ++warm) {
    loader.start_epoch(0);
    while (loader.next() != nullptr) {
    }
  }
  const int64_t before = allocations.load();
  // The same epoch: each thread may still meet its largest picture for the first time.
  loader.start_epoch(0);
  while (loader.next() != nullptr) {
  }
  return allocations.load() - before;
}

TEST(Allocations, NonePerSampleInTheSteadyState) {
  TempFolder folder;
  for (int i = 0; i < kPictures; ++i) {
    const Image image = test::picture(40 + i % 7, 50 + i % 5, 3, static_cast<uint32_t>(i));
    write_bytes(folder / ("jpeg/" + std::string(i % 2 == 0 ? "a/" : "b/") + std::to_string(i) + ".jpg"), encode_jpeg(image));
  }
  pack(*open_source({.source = folder / "jpeg"}), folder / "jpeg.bpk", {});
  pack(*open_source({.source = folder / "jpeg"}), folder / "raw.bpk", {.store = "raw"});
  ASSERT_GT(allocations.load(), kPictures);  // the counter counts
  for (const std::string source : {"jpeg", "jpeg.bpk", "raw.bpk"}) {
    for (const std::string pipeline : {"random_resized_crop(24) | hflip", "random_crop(24) | hflip", "resize(32) | center_crop(24)",
                                       "rrc(24) | hflip | jitter(0.4, 0.4, 0.4, 0.1) | equalize | erase(1, mode=pixel)",
                                       "random_crop(24) | rotate(20) | gaussian_blur(5) | gaussian_noise | cutout(8)"}) {
      // Inline nothing at all; with threads a fixed number of an epoch's own.
      EXPECT_EQ(allocations_of(folder / source, pipeline, 0), 0) << source << ' ' << pipeline;
      EXPECT_LE(allocations_of(folder / source, pipeline, 2), 50) << source << ' ' << pipeline;
    }
  }
}

}  // namespace
}  // namespace ballast
