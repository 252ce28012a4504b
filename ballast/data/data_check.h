#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <ballast/data/data_set.h>
#include <ballast/data/loader.h>

namespace ballast {

/// Options of check_data.
struct DataCheckOptions {
  /// Threads that decode; 0: the usable cores.
  int threads = 0;
  /// A class with fewer training pictures is named as tiny.
  int64_t tiny_class = 20;
  /// Look for pictures that are nearly the same, too.
  bool near_duplicates = true;
};

/// What `ballast data check` finds.
struct DataCheckReport {
  std::string source, format;
  std::vector<std::string> classes;
  std::vector<std::string> notes;
  /// [role][class]; a picture of several labels counts for each.
  std::array<std::vector<int64_t>, kRoles> counts;
  std::array<int64_t, kRoles> sizes{};
  /// Files that cannot be used, in the order of ids; action is empty.
  std::vector<BadSample> bad;

  /// Classes without a readable picture in a role that has pictures, "role: class".
  std::vector<std::string> empty_classes;
  /// Training classes below DataCheckOptions::tiny_class.
  std::vector<std::string> tiny_classes;

  struct Spread {
    int32_t min = 0, median = 0, max = 0;
  };
  Spread height, width;
  /// Pictures by shorter side and by width over height: a range in words and a count.
  std::vector<std::pair<std::string, int64_t>> side_bins, aspect_bins;
  int64_t readable = 0;
  /// Pictures by channels in the file (1, 3, 4), by codec, with an EXIF turn (which is ignored),
  /// progressive, CMYK.
  int64_t gray = 0, color = 0, alpha = 0;
  int64_t jpeg = 0, png = 0, webp = 0, raw = 0;
  int64_t exif_turned = 0, progressive = 0, cmyk = 0;
  /// Over all readable training pictures, in [0, 1].
  std::vector<double> mean, std;

  /// Pictures with the same pixels or the same bytes, at least two each, by name.
  struct Duplicates {
    std::vector<std::string> names;
    std::vector<uint64_t> ids;
    std::vector<Role> roles;
    /// In more than one role: the test tells less than it seems to.
    bool leak = false;
    /// Under more than one label, or set of labels.
    bool conflict = false;
  };
  std::vector<Duplicates> duplicates;
  /// Pictures that look the same (near_duplicates.h), without those above: another size, another quality.
  std::vector<Duplicates> near_duplicates;
  int64_t leaks() const;
  int64_t near_leaks() const;
  int64_t conflicts() const;
  /// False if there are leaks, label conflicts, unusable files or empty classes: the exit code is
  /// that of bad data.
  bool ok() const;

  /// For a terminal, and one JSON document.
  std::string text() const;
  std::string json() const;
};

/// Decodes everything and looks for what harms training: files that cannot be read, classes that
/// are empty or tiny, exact duplicates (SHA-256 of bytes and of pixels), near ones, the same picture in two
/// roles or under two labels.
DataCheckReport check_data(const DataSet& data, const DataCheckOptions& options = {});

}  // namespace ballast
