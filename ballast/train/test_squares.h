#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <ballast/base/key.h>
#include <ballast/data/test_data.h>

namespace ballast {

/// For tests: a noisy picture of 16 px with a square of 5 px for each bit of `colors`: red, green, blue, somewhere of its own third.
inline Image squares_picture(uint32_t colors, uint64_t id) {
  Image image(16, 16, 3);
  const Key key = Key(3).fold_in(id);
  for (int32_t y = 0; y < 16; ++y) {
    for (int32_t x = 0; x < 16 * 3; ++x) {
      image.row_u8(y)[x] = static_cast<uint8_t>(60 * uniform(key, static_cast<uint64_t>(y * 48 + x)));
    }
  }
  for (int32_t c = 0; c < 3; ++c) {
    const auto top = static_cast<int32_t>(11 * uniform(key.fold_in("place"), static_cast<uint64_t>(c)));
    for (int32_t y = top; (colors >> c & 1) != 0 && y < top + 5; ++y) {
      for (int32_t x = 5 * c; x < 5 * c + 5; ++x) image.row_u8(y)[3 * x + c] = 240;
    }
  }
  return image;
}

/// "red;blue"
inline std::string squares_label(uint32_t colors) {
  std::string text;
  for (const auto& [bit, name] : {std::pair{1U, "red"}, {2U, "green"}, {4U, "blue"}}) {
    if ((colors & bit) != 0) text += (text.empty() ? "" : ";") + std::string(name);
  }
  return text;
}

/// For tests: folder/NNN.png and folder/list.csv with n pictures of all 8 sets of colours in turn: a quarter val, a quarter test.
inline void write_squares(const std::filesystem::path& folder, int n) {
  std::string csv = "path,label,role\n";
  for (int i = 0; i < n; ++i) {
    const auto colors = static_cast<uint32_t>(i % 8);
    const std::string file = std::to_string(i) + ".png";
    write_bytes(folder / file, encode_png(squares_picture(colors, static_cast<uint64_t>(i))));
    csv += file + "," + squares_label(colors) + (i % 32 < 16 ? ",train\n" : i % 32 < 24 ? ",val\n" : ",test\n");
  }
  write_text(folder / "list.csv", csv);
}

}  // namespace ballast
