#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace ballast {

/// Values of an IDX file, the format of MNIST.
struct IdxArray {
  /// u8 0x08, i8 0x09, i16 0x0B, i32 0x0C, f32 0x0D, f64 0x0E.
  uint8_t type = 0;
  std::vector<int64_t> sizes;
  /// Big-endian, as in the file.
  std::vector<std::byte> bytes;

  /// Value i of an integer type.
  int64_t integer(int64_t i) const;
};

/// Reads an IDX file, plain or gzip-compressed (by content).
///
/// Format  00 00 TYPE DIMS, a big-endian u32 for each size, the values. The length must be exact; a
/// compressed file is
///         inflated at most one byte beyond it.
/// Errors  DataError: `[idx] PATH: ...` with what is wrong.
IdxArray read_idx(const std::string& path);

}  // namespace ballast
