#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <ballast/base/key.h>
#include <ballast/data/test_data.h>

namespace ballast {

/// For tests: the pixels of a gray picture of 12 px: class k has a bright bar at row 3k, with noise.
inline std::string bar_picture(int label, uint64_t id) {
  std::string pixels;
  for (int p = 0; p < 144; ++p) {
    const auto noise = static_cast<int>(100 * uniform(Key(9).fold_in(id), static_cast<uint64_t>(p)));
    pixels += static_cast<char>(noise + (p / 36 == label ? 120 : 0));
  }
  return pixels;
}

/// For tests: n such pictures of 4 classes in turn as `part` of an IDX folder; `first` is the first one's id.
inline void write_bars(const std::filesystem::path& folder, const std::string& part, int n, uint64_t first) {
  std::string images, labels;
  for (int i = 0; i < n; ++i) {
    images += bar_picture(i % 4, first + static_cast<uint64_t>(i));
    labels += static_cast<char>(i % 4);
  }
  const auto count = static_cast<uint32_t>(n);
  write_text(folder / (part + "-images-idx3-ubyte"), idx_text({count, 12, 12}, images));
  write_text(folder / (part + "-labels-idx1-ubyte"), idx_text({count}, labels));
}

}  // namespace ballast
