#pragma once

#include <ballast/base/key.h>
#include <ballast/image/encode.h>
#include <ballast/image/image.h>

#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

namespace ballast {

/// A folder that is removed at the end of a test.
class TempFolder {
 public:
  TempFolder() {
    static std::atomic<int> count{0};
    path_ = std::filesystem::temp_directory_path() /
            ("ballast-data-" + std::to_string(::getpid()) + "-" + std::to_string(count++));
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return path_ / name; }
  std::string str() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline void write_bytes(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}
inline void write_text(const std::filesystem::path& path, const std::string& text) {
  write_bytes(path, std::as_bytes(std::span(text.data(), text.size())));
}

/// A picture of keyed colours, smooth enough to survive JPEG.
inline Image test_picture(uint64_t seed, int32_t h = 12, int32_t w = 10, int32_t c = 3) {
  Image image(h, w, c);
  const Key key(seed);
  for (int32_t y = 0; y < h; ++y) {
    for (int32_t x = 0; x < w; ++x) {
      for (int32_t k = 0; k < c; ++k) {
        image.row_u8(y)[x * c + k] =
            static_cast<uint8_t>(slot_uniform(key, static_cast<uint32_t>(k)) * 150 + 4 * y + 3 * x);
      }
    }
  }
  return image;
}

/// root/CLASS/NN.png for each class, `counts` many; pictures differ.
inline void write_classes(const std::filesystem::path& root,
                          const std::vector<std::pair<std::string, int>>& counts,
                          uint64_t seed = 0) {
  for (const auto& [name, n] : counts) {
    for (int i = 0; i < n; ++i) {
      const std::string number = std::to_string(i);
      write_bytes(root / name / (std::string(number.size() < 2 ? 1 : 0, '0') + number + ".png"),
                  encode_png(test_picture(
                      Key(seed).fold_in(name).fold_in(static_cast<uint64_t>(i)).bits())));
    }
  }
}

inline std::string big_endian(uint32_t x) {
  return {static_cast<char>(x >> 24), static_cast<char>(x >> 16), static_cast<char>(x >> 8),
          static_cast<char>(x)};
}
/// An IDX file of bytes.
inline std::string idx_text(const std::vector<uint32_t>& sizes, const std::string& values) {
  std::string text = {0, 0, 8, static_cast<char>(sizes.size())};
  for (const uint32_t size : sizes) {
    text += big_endian(size);
  }
  return text + values;
}

}  // namespace ballast
