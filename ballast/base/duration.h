#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ballast {

/// A length of a run: `12ep` epochs, `500st` steps, `10%` of the planned run, `45m` `2h` `30s` of time.
struct Duration {
  enum class Unit { epochs, steps, percent, seconds };

  double amount = 0;
  Unit unit = Unit::epochs;

  /// Reads a text as above; a bare number has `bare` as its unit. Throws std::invalid_argument if it is no duration,
  /// is negative or not finite.
  static Duration parse(std::string_view text, Unit bare);
  /// The shortest text that parse() reads back: "12ep", "90m".
  std::string text() const;

  bool is_time() const { return unit == Unit::seconds; }
  /// In steps, rounded to the nearest; `total` is the planned length of the run. Not for times.
  int64_t steps(int64_t steps_per_epoch, int64_t total) const;
  /// In seconds. Only for times.
  double seconds() const;

  bool operator==(const Duration&) const = default;
};

}  // namespace ballast
