#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ballast {

/// Columns of `text` on a terminal: one per code point, two for East Asian wide ones and pictures, none for
/// combining marks. Bytes that are not UTF-8 count one each.
int64_t display_width(std::string_view text);

/// `text` cut to at most `width` columns; what is cut is replaced by one "…". Never splits a code point.
std::string truncate_to_width(std::string_view text, int64_t width);

/// `text` with control characters (escape sequences, new lines, tabs) replaced by "?": names of files and classes
/// come from outside and must not steer a terminal.
std::string printable(std::string_view text);

/// A number with the given digits after the point; "-" if it is not a number, "inf" and "-inf" otherwise.
std::string format_fixed(double value, int digits);
/// A number with at most `digits` significant digits, shortest form, no exponent between 1e-4 and 1e6.
std::string format_significant(double value, int digits);
/// 1234567 -> "1,234,567".
std::string format_count(int64_t value);
/// Seconds as "0.4 s", "12 s", "3 min 05 s", "2 h 07 min", "3 d 04 h"; "-" if negative or not finite.
std::string format_duration(double seconds);
/// Bytes as "512 B", "1.4 kB", "38.2 MB" (powers of 1000).
std::string format_bytes(double bytes);

/// Aligned text tables for a terminal.
///
///   model        parameters   image
///   resnet20        272,474   32 x 32
///
/// Plain text without colour: it reads the same in a pipe. A row with fewer cells than columns is filled up with
/// empty ones; more cells are an error. Cells are made printable().
class Table {
 public:
  enum class Align { left, right };
  struct Column {
    std::string title;
    Align align = Align::left;
  };

  /// Throws std::invalid_argument without columns.
  explicit Table(std::vector<Column> columns);

  /// Throws std::invalid_argument if there are more cells than columns.
  void row(std::vector<std::string> cells);
  size_t rows() const { return rows_.size(); }

  struct TextOptions {
    /// Between two columns.
    int64_t gap = 3;
    /// Columns of the terminal: the widest left-aligned column is cut so that lines fit; 0: never cut.
    int64_t width = 0;
    /// A rule under the titles.
    bool rule = false;
    bool titles = true;
  };
  /// Each line ends with a new line and has no blanks before it.
  std::string text(const TextOptions& options) const;
  std::string text() const { return text(TextOptions{}); }

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace ballast
