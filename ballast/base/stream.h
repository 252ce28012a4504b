#pragma once

#include <cstdint>

namespace ballast {

/// A result of this many bytes or more is stored past the caches: who reads it next would not find it there, and a usual store reads
/// each line before it writes it.
inline constexpr int64_t kStreamBytes = int64_t{16} << 20;

}  // namespace ballast
