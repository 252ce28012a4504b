#pragma once

// No torch in this header.

#include <cstddef>
#include <cstdint>

namespace ballast {

/// Options of install_caching_allocator.
struct AllocatorOptions {
  /// Bytes that may be held in use and in the cache together; 0: 75 % of the memory limit (cgroup or physical).
  size_t cap = 0;
  /// Blocks from this size up are aligned to 2 MB and given huge pages.
  size_t huge_from = size_t{2} << 20;
};

struct AllocatorStats {
  bool installed = false;
  uint64_t allocations = 0;   ///< asked of it
  uint64_t system = 0;        ///< of these, passed on to the system
  size_t in_use = 0, cached = 0, peak = 0;  ///< bytes
  size_t cap = 0;
};

/// Makes LibTorch's CPU tensors come from a caching allocator: freed blocks are kept in size classes (four an octave)
/// and reused last in, first out, so that a training step takes no page faults; where none of the class is free, one of less than twice
/// the size serves. Every block is aligned to 64 bytes.
///
/// Process-global, thread-safe, never removed. Call it before the first tensor is made; the library never calls it by
/// itself, the program does. A second call changes nothing.
///
/// Past the cap the cache is emptied first; then std::bad_alloc, which LibTorch reports as it does its own.
void install_caching_allocator(const AllocatorOptions& options = {});

AllocatorStats allocator_stats();

/// The peak becomes what is in use now.
void reset_allocator_peak();

/// Returns all cached blocks to the system.
void empty_allocator_cache();

/// That, and what malloc keeps of freed memory: between parts of a run that need blocks of other sizes.
void release_free_memory();

}  // namespace ballast
