#include <ballast/train/allocator.h>

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <string>

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <ballast/train/size_class.h>

namespace ballast {
namespace {

constexpr size_t kHeader = 64;
constexpr size_t kPage = 4096;
constexpr size_t kHuge = size_t{2} << 20;
constexpr size_t kLent = size_t{64} << 10;  // from this size up a larger block may serve

/// Stands in the 64 bytes before the data.
struct Header {
  Header* next;
  void* base;      // what the system gave
  size_t mapped;   // bytes of an mmap; 0: from aligned_alloc
  size_t bytes;    // of the data
  uint32_t size_class;
};
static_assert(sizeof(Header) <= kHeader);

size_t memory_limit() {
  size_t limit = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGE_SIZE));
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream file(path);
    size_t value = 0;
    if (file >> value && value > 0) {
      limit = std::min(limit, value);
    }
  }
  return limit;
}

class CachingAllocator final : public c10::Allocator {
 public:
  explicit CachingAllocator(const AllocatorOptions& options) : options_(options) {
    if (options_.cap == 0) {
      options_.cap = memory_limit() / 4 * 3;
    }
    default_ = this;
  }

  // LibTorch 1.13 declares allocate const, 2.x does not: one of the two overrides it. Likewise copy_data is new in 2.x.
  c10::DataPtr allocate(size_t n) { return make(n); }
  c10::DataPtr allocate(size_t n) const { return const_cast<CachingAllocator*>(this)->make(n); }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t n) const { std::memcpy(to, from, n); }

  AllocatorStats stats() {
    std::lock_guard lock(mutex_);
    AllocatorStats s = stats_;
    s.installed = true;
    s.cap = options_.cap;
    return s;
  }

  void reset_peak() {
    std::lock_guard lock(mutex_);
    stats_.peak = stats_.in_use;
  }

  void empty() {
    std::lock_guard lock(mutex_);
    empty_locked();
  }

 private:
  c10::DataPtr make(size_t n) {
    const c10::Device cpu(c10::DeviceType::CPU);
    if (n == 0) {
      return {nullptr, nullptr, &release, cpu};
    }
    void* data = take(n);
    return {data, data, &release, cpu};
  }

  void* take(size_t n) {
    const uint32_t c = size_class(n);
    const size_t bytes = size_class_bytes(c);
    std::lock_guard lock(mutex_);
    ++stats_.allocations;
    Header* h = cached(c, bytes);
    if (h == nullptr) {
      if (stats_.in_use + stats_.cached + bytes > options_.cap) {
        empty_locked();
      }
      if (stats_.in_use + bytes <= options_.cap) {
        h = from_system(bytes);
        if (h == nullptr) {
          empty_locked();
          h = from_system(bytes);
        }
      }
      TORCH_CHECK(h != nullptr, "[allocator] not enough memory: a tensor of ", n, " bytes was asked for, ", stats_.in_use,
                  " bytes are in use, the cap is ", options_.cap, "; use a smaller batch or --micro-batch");
      h->size_class = c;
      ++stats_.system;
    }
    stats_.in_use += h->bytes;
    stats_.peak = std::max(stats_.peak, stats_.in_use);
    return reinterpret_cast<char*>(h) + kHeader;
  }

  // One of the class, or a larger one of less than an octave more: an epoch's last batch finds its place in those of the others.
  Header* cached(uint32_t c, size_t bytes) {
    const size_t last = bytes < kLent ? c : std::min<size_t>(c + 3, kSizeClasses - 1);
    for (size_t k = c; k <= last; ++k) {
      if (Header* h = free_[k]; h != nullptr) {
        free_[k] = h->next;
        stats_.cached -= h->bytes;
        return h;
      }
    }
    return nullptr;
  }

  Header* from_system(size_t bytes) const {
    if (bytes < options_.huge_from) {
      void* base = std::aligned_alloc(kHeader, (bytes + kHeader + kHeader - 1) / kHeader * kHeader);
      if (base == nullptr) {
        return nullptr;
      }
      return new (base) Header{nullptr, base, 0, bytes, 0};
    }
    // The data start at a multiple of 2 MB; the header has the page before for itself.
    const size_t data_bytes = (bytes + kPage - 1) / kPage * kPage;
    const size_t reserve = data_bytes + kHuge + kPage;
    void* start = mmap(nullptr, reserve, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) {
      return nullptr;
    }
    const auto begin = reinterpret_cast<uintptr_t>(start);
    const uintptr_t data = (begin + kPage + kHuge - 1) / kHuge * kHuge;
    const uintptr_t base = data - kPage;
    const uintptr_t end = data + data_bytes;
    if (base > begin) {
      munmap(start, base - begin);
    }
    if (begin + reserve > end) {
      munmap(reinterpret_cast<void*>(end), begin + reserve - end);
    }
    madvise(reinterpret_cast<void*>(data), data_bytes, MADV_HUGEPAGE);  // advice: a refusal costs speed only
    auto* header = reinterpret_cast<void*>(data - kHeader);
    return new (header) Header{nullptr, reinterpret_cast<void*>(base), data_bytes + kPage, bytes, 0};
  }

  static void to_system(Header* h) {
    if (h->mapped != 0) {
      munmap(h->base, h->mapped);
    } else {
      std::free(h->base);
    }
  }

  void empty_locked() {
    for (Header*& list : free_) {
      while (list != nullptr) {
        Header* h = list;
        list = h->next;
        stats_.cached -= h->bytes;
        to_system(h);
      }
    }
  }

  static void release(void* data) {
    if (data == nullptr) {
      return;
    }
    CachingAllocator& self = *default_;
    auto* h = reinterpret_cast<Header*>(static_cast<char*>(data) - kHeader);
    std::lock_guard lock(self.mutex_);
    self.stats_.in_use -= h->bytes;
    self.stats_.cached += h->bytes;
    h->next = self.free_[h->size_class];
    self.free_[h->size_class] = h;
  }

  static inline CachingAllocator* default_ = nullptr;

  AllocatorOptions options_;
  std::mutex mutex_;
  std::array<Header*, kSizeClasses> free_{};
  AllocatorStats stats_;
};

CachingAllocator* installed = nullptr;
std::mutex install_mutex;

}  // namespace

void install_caching_allocator(const AllocatorOptions& options) {
  std::lock_guard lock(install_mutex);
  if (installed != nullptr) {
    return;
  }
  installed = new CachingAllocator(options);
  c10::SetCPUAllocator(installed);
#ifdef __GLIBC__
  // oneDNN and BLAS take their scratch memory from malloc: it should keep it, too.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

AllocatorStats allocator_stats() {
  std::lock_guard lock(install_mutex);
  return installed == nullptr ? AllocatorStats{} : installed->stats();
}

void reset_allocator_peak() {
  std::lock_guard lock(install_mutex);
  if (installed != nullptr) {
    installed->reset_peak();
  }
}

void empty_allocator_cache() {
  std::lock_guard lock(install_mutex);
  if (installed != nullptr) {
    installed->empty();
  }
}

void release_free_memory() {
  empty_allocator_cache();
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace ballast
