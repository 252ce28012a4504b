#include "sheet.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include <ballast/image/resize.h>

namespace ballast::cli {

namespace {

constexpr int32_t kGlyphW = 6, kGlyphH = 9, kGap = 10;

struct Glyph {
  char letter;
  /// Seven rows of five pixels, the leftmost in bit 4.
  std::array<uint8_t, 7> rows;
};

constexpr Glyph kFont[] = {
    {'a', {0, 0, 14, 1, 15, 17, 15}},      {'b', {16, 16, 30, 17, 17, 17, 30}},  {'c', {0, 0, 14, 16, 16, 17, 14}},
    {'d', {1, 1, 15, 17, 17, 17, 15}},     {'e', {0, 0, 14, 17, 31, 16, 14}},    {'f', {6, 8, 28, 8, 8, 8, 8}},
    {'g', {0, 0, 15, 17, 15, 1, 14}},      {'h', {16, 16, 30, 17, 17, 17, 17}},  {'i', {4, 0, 12, 4, 4, 4, 14}},
    {'j', {2, 0, 6, 2, 2, 18, 12}},        {'k', {16, 16, 18, 20, 24, 20, 18}},  {'l', {12, 4, 4, 4, 4, 4, 14}},
    {'m', {0, 0, 26, 21, 21, 21, 21}},     {'n', {0, 0, 30, 17, 17, 17, 17}},    {'o', {0, 0, 14, 17, 17, 17, 14}},
    {'p', {0, 0, 30, 17, 30, 16, 16}},     {'q', {0, 0, 15, 17, 15, 1, 1}},      {'r', {0, 0, 22, 25, 16, 16, 16}},
    {'s', {0, 0, 15, 16, 14, 1, 30}},      {'t', {8, 8, 28, 8, 8, 9, 6}},        {'u', {0, 0, 17, 17, 17, 19, 13}},
    {'v', {0, 0, 17, 17, 17, 10, 4}},      {'w', {0, 0, 17, 17, 21, 21, 10}},    {'x', {0, 0, 17, 10, 4, 10, 17}},
    {'y', {0, 0, 17, 17, 15, 1, 14}},      {'z', {0, 0, 31, 2, 4, 8, 31}},       {'0', {14, 17, 19, 21, 25, 17, 14}},
    {'1', {4, 12, 4, 4, 4, 4, 14}},        {'2', {14, 17, 1, 6, 8, 16, 31}},     {'3', {31, 2, 4, 2, 1, 17, 14}},
    {'4', {2, 6, 10, 18, 31, 2, 2}},       {'5', {31, 16, 30, 1, 1, 17, 14}},    {'6', {6, 8, 16, 30, 17, 17, 14}},
    {'7', {31, 1, 2, 4, 8, 8, 8}},         {'8', {14, 17, 17, 14, 17, 17, 14}},  {'9', {14, 17, 17, 15, 1, 2, 12}},
    {'.', {0, 0, 0, 0, 0, 12, 12}},        {'-', {0, 0, 0, 31, 0, 0, 0}},        {'+', {0, 4, 4, 31, 4, 4, 0}},
    {'_', {0, 0, 0, 0, 0, 0, 31}},         {',', {0, 0, 0, 0, 12, 4, 8}},        {':', {0, 12, 12, 0, 12, 12, 0}},
    {'(', {2, 4, 8, 8, 8, 4, 2}},          {')', {8, 4, 2, 2, 2, 4, 8}},         {'/', {0, 1, 2, 4, 8, 16, 0}},
    {'%', {24, 25, 2, 4, 8, 19, 3}},       {' ', {0, 0, 0, 0, 0, 0, 0}},         {'=', {0, 0, 31, 0, 31, 0, 0}}};

void write(Image& out, int32_t y, int32_t x, std::string_view text, int32_t width) {
  for (char ch : text.substr(0, static_cast<size_t>(width / kGlyphW))) {
    if (ch >= 'A' && ch <= 'Z') ch = static_cast<char>(ch - 'A' + 'a');
    const auto* glyph = std::find_if(std::begin(kFont), std::end(kFont), [&](const Glyph& g) { return g.letter == ch; });
    for (int32_t r = 0; r < 7; ++r) {
      const int bits = glyph != std::end(kFont) ? glyph->rows[static_cast<size_t>(r)] : (r == 0 || r == 6 ? 31 : 17);
      for (int32_t c = 0; c < 5; ++c) {
        if ((bits >> (4 - c) & 1) != 0) std::fill_n(out.row_u8(y + r) + static_cast<ptrdiff_t>(x + c) * 3, 3, uint8_t{40});
      }
    }
    x += kGlyphW;
  }
}

}  // namespace

Image fitted(ImageView image, int32_t side) {
  const int32_t longer = std::max(image.h, image.w);
  if (longer <= side) {
    const int32_t times = side / longer;
    return resize(image, image.h * times, image.w * times, {.interpolation = Interpolation::nearest});
  }
  const auto scaled = [&](int32_t n) { return std::max(1, static_cast<int32_t>(int64_t{n} * side / longer)); };
  return resize(image, scaled(image.h), scaled(image.w));
}

Image contact_sheet(const std::vector<std::vector<SheetCell>>& rows, int32_t side) {
  size_t columns = 0;
  std::vector<int32_t> heights;
  int32_t total = kGap;
  for (const auto& row : rows) {
    size_t lines = 0;
    for (const SheetCell& cell : row) lines = std::max(lines, cell.lines.size());
    columns = std::max(columns, row.size());
    heights.push_back(side + static_cast<int32_t>(lines) * kGlyphH + 4 + kGap);
    total += heights.back();
  }
  Image out(std::max(total, 1), std::max(1, static_cast<int32_t>(columns) * (side + kGap) + kGap), 3);
  for (int32_t y = 0; y < out.h(); ++y) std::fill_n(out.row_u8(y), out.w() * 3, uint8_t{248});
  int32_t top = kGap;
  for (size_t r = 0; r < rows.size(); ++r) {
    int32_t left = kGap;
    for (const SheetCell& cell : rows[r]) {
      const Image picture = fitted(cell.image, side);
      const int32_t dy = (side - picture.h()) / 2, dx = (side - picture.w()) / 2;
      for (int32_t y = 0; y < picture.h(); ++y) {
        std::memcpy(out.row_u8(top + dy + y) + static_cast<ptrdiff_t>(left + dx) * 3, picture.row_u8(y),
                    static_cast<size_t>(picture.w()) * 3);
      }
      for (size_t i = 0; i < cell.lines.size(); ++i) {
        write(out, top + side + 4 + static_cast<int32_t>(i) * kGlyphH, left, cell.lines[i], side);
      }
      left += side + kGap;
    }
    top += heights[r];
  }
  return out;
}

void draw_boxes(Image& image, const Boxes& boxes, int32_t side) {
  constexpr uint8_t kColors[8][3] = {{255, 64, 64}, {64, 160, 255}, {64, 220, 64}, {255, 200, 0},
                                     {220, 80, 255}, {0, 220, 220}, {255, 140, 0}, {255, 255, 255}};
  const int32_t line = std::max(1, (std::max(image.h(), image.w()) + side - 1) / side);
  for (int64_t i = 0; i < boxes.size(); ++i) {
    const auto k = static_cast<size_t>(i);
    const auto at = [](float v, int32_t n) { return std::clamp(static_cast<int32_t>(std::lround(v)), 0, n); };
    const int32_t x0 = at(boxes.x1[k], image.w()), x1 = at(boxes.x2[k], image.w());
    const int32_t y0 = at(boxes.y1[k], image.h()), y1 = at(boxes.y2[k], image.h());
    for (int32_t y = y0; y < y1; ++y) {
      for (int32_t x = x0; x < x1; ++x) {
        if (x >= x0 + line && x < x1 - line && y >= y0 + line && y < y1 - line) continue;
        std::copy_n(kColors[static_cast<size_t>(boxes.label[k]) % 8], 3, image.row_u8(y) + 3 * x);
      }
    }
  }
}

}  // namespace ballast::cli
