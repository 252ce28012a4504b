#include "table.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include <ballast/base/check.h>

namespace ballast {
namespace {

struct CodePoint {
  uint32_t value;
  size_t bytes;
};

// A byte that begins no valid sequence is a code point of its own (U+FFFD).
CodePoint next_code_point(std::string_view s) {
  auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(s[i])); };
  uint32_t first = byte(0);
  if (first < 0x80) {
    return {first, 1};
  }
  size_t n = first >= 0xf0 && first < 0xf5   ? 4
             : first >= 0xe0 && first < 0xf0 ? 3
             : first >= 0xc2 && first < 0xe0 ? 2
                                             : 0;
  if (n == 0 || s.size() < n) {
    return {0xfffd, 1};
  }
  uint32_t value = first & (0x7fu >> n);
  for (size_t i = 1; i < n; ++i) {
    if ((byte(i) & 0xc0) != 0x80) {
      return {0xfffd, 1};
    }
    value = value << 6 | (byte(i) & 0x3f);
  }
  return {value, n};
}

int64_t columns_of(uint32_t c) {
  if ((c >= 0x300 && c <= 0x36f) || c == 0x200b || c == 0x200d || (c >= 0xfe00 && c <= 0xfe0f)) {
    return 0;
  }
  bool wide = (c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0xa4cf) ||
              (c >= 0xac00 && c <= 0xd7a3) || (c >= 0xf900 && c <= 0xfaff) ||
              (c >= 0xfe30 && c <= 0xfe6f) || (c >= 0xff00 && c <= 0xff60) ||
              (c >= 0x1f300 && c <= 0x1faff) || (c >= 0x20000 && c <= 0x3fffd);
  return wide ? 2 : 1;
}

std::string two_digits(int64_t v) {
  std::string digits = std::to_string(v);
  return v < 10 ? std::string(1, '0').append(digits) : digits;
}

}  // namespace

int64_t display_width(std::string_view text) {
  int64_t width = 0;
  while (!text.empty()) {
    CodePoint c = next_code_point(text);
    width += columns_of(c.value);
    text.remove_prefix(c.bytes);
  }
  return width;
}

std::string truncate_to_width(std::string_view text, int64_t width) {
  if (display_width(text) <= width) {
    return std::string(text);
  }
  if (width <= 0) {
    return {};
  }
  std::string out;
  int64_t used = 0;
  while (!text.empty()) {
    CodePoint c = next_code_point(text);
    if (used + columns_of(c.value) > width - 1) {
      break;
    }
    used += columns_of(c.value);
    out.append(text.substr(0, c.bytes));
    text.remove_prefix(c.bytes);
  }
  return out + "\u2026";
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    CodePoint c = next_code_point(text);
    bool control = c.value < 0x20 || (c.value >= 0x7f && c.value < 0xa0) ||
                   (c.value == 0xfffd && c.bytes == 1) ||
                   (c.value >= 0x202a && c.value <= 0x202e) ||
                   (c.value >= 0x2066 && c.value <= 0x2069);
    if (control) {
      out += '?';
    } else {
      out.append(text.substr(0, c.bytes));
    }
    text.remove_prefix(c.bytes);
  }
  return out;
}

std::string format_fixed(double value, int digits) {
  if (std::isnan(value)) {
    return "-";
  }
  if (std::isinf(value)) {
    return value > 0 ? "inf" : "-inf";
  }
  std::array<char, 400> buffer;
  auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                           std::chars_format::fixed, std::clamp(digits, 0, 30));
  std::string out(buffer.data(), end.ptr);
  if (out.starts_with('-') && out.find_first_not_of("-0.") == std::string::npos) {
    out.erase(0, 1);
  }
  return out;
}

std::string format_significant(double value, int digits) {
  if (!std::isfinite(value)) {
    return format_fixed(value, 0);
  }
  if (value == 0) {
    return "0";
  }
  double size = std::abs(value);
  std::array<char, 64> buffer;
  if (size < 1e-4 || size >= 1e6) {
    auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                             std::chars_format::scientific, std::max(0, digits - 1));
    std::string text(buffer.data(), end.ptr);
    // 1.000e-05 -> 1e-05
    size_t e = text.find('e');
    std::string mantissa = text.substr(0, e);
    if (mantissa.find('.') != std::string::npos) {
      mantissa.erase(mantissa.find_last_not_of('0') + 1);
      if (mantissa.ends_with('.')) {
        mantissa.pop_back();
      }
    }
    return mantissa + text.substr(e);
  }
  int before = static_cast<int>(std::floor(std::log10(size))) + 1;
  std::string text = format_fixed(value, std::max(0, digits - before));
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.ends_with('.')) {
      text.pop_back();
    }
  }
  return text;
}

std::string format_count(int64_t value) {
  std::string digits = std::to_string(value);
  std::string out;
  size_t first = value < 0 ? 1 : 0;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > first && (digits.size() - i) % 3 == 0) {
      out += ',';
    }
    out += digits[i];
  }
  return out;
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) {
    return "-";
  }
  if (seconds < 9.95) {
    return format_fixed(seconds, 1) + " s";
  }
  if (seconds > 1e9) {
    return "over 30 years";
  }
  auto s = static_cast<int64_t>(std::llround(seconds));
  if (s < 60) {
    return std::to_string(s) + " s";
  }
  if (s < 3600) {
    return std::to_string(s / 60) + " min " + two_digits(s % 60) + " s";
  }
  int64_t m = (s + 30) / 60;
  if (m < 24 * 60) {
    return std::to_string(m / 60) + " h " + two_digits(m % 60) + " min";
  }
  int64_t h = (s + 1800) / 3600;
  return std::to_string(h / 24) + " d " + two_digits(h % 24) + " h";
}

std::string format_bytes(double bytes) {
  if (!std::isfinite(bytes) || bytes < 0) {
    return "-";
  }
  constexpr std::array<const char*, 6> kUnits = {"B", "kB", "MB", "GB", "TB", "PB"};
  size_t unit = 0;
  while (bytes >= 999.5 && unit + 1 < kUnits.size()) {
    bytes /= 1000;
    ++unit;
  }
  return format_fixed(bytes, unit == 0 || bytes >= 99.95 ? 0 : 1) + " " + kUnits[unit];
}

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {
  check(!columns_.empty(), "table", "at least one column is required, got none");
}

void Table::row(std::vector<std::string> cells) {
  check(cells.size() <= columns_.size(), "table", "a row must have at most ", columns_.size(),
        " cells, got ", cells.size());
  cells.resize(columns_.size());
  for (std::string& cell : cells) {
    cell = printable(cell);
  }
  rows_.push_back(std::move(cells));
}

std::string Table::text(const TextOptions& options) const {
  size_t n = columns_.size();
  std::vector<int64_t> widths(n, 0);
  for (size_t c = 0; c < n; ++c) {
    widths[c] = options.titles ? display_width(columns_[c].title) : 0;
    for (const auto& cells : rows_) {
      widths[c] = std::max(widths[c], display_width(cells[c]));
    }
  }
  int64_t total = options.gap * static_cast<int64_t>(n - 1);
  for (int64_t w : widths) {
    total += w;
  }
  constexpr int64_t kNarrowest = 8;
  while (options.width > 0 && total > options.width) {
    size_t widest = n;
    for (size_t c = 0; c < n; ++c) {
      if (columns_[c].align == Align::left && widths[c] > kNarrowest &&
          (widest == n || widths[c] > widths[widest])) {
        widest = c;
      }
    }
    if (widest == n) {
      break;
    }
    --widths[widest];
    --total;
  }

  std::string out;
  auto line = [&](auto&& cell) {
    std::string text;
    for (size_t c = 0; c < n; ++c) {
      std::string value = truncate_to_width(cell(c), widths[c]);
      auto pad = static_cast<size_t>(std::max<int64_t>(0, widths[c] - display_width(value)));
      text += columns_[c].align == Align::right ? std::string(pad, ' ') + value
                                                : value + std::string(pad, ' ');
      if (c + 1 < n) {
        text.append(static_cast<size_t>(options.gap), ' ');
      }
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + '\n';
  };
  if (options.titles) {
    line([&](size_t c) { return columns_[c].title; });
  }
  if (options.rule) {
    line([&](size_t c) { return std::string(static_cast<size_t>(widths[c]), '-'); });
  }
  for (const auto& cells : rows_) {
    line([&](size_t c) { return cells[c]; });
  }
  return out;
}

}  // namespace ballast
