#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace ballast {

// Errors. The library throws and never prints, exits or aborts; the program turns an exception into one line on
// stderr and an exit code.
//
//   std::invalid_argument   a wrong value, key or combination from the caller; exit code 2
//   DataError               a file or data set is missing, corrupt, changed or unusable; exit code 3
//   NonFiniteError          training met a value that is not finite, or diverged; exit code 4
//   StorageError            a result could not be stored: disk full, I/O error, read-only; exit code 6
//   InUseError              another process uses the run folder; exit code 7
//   anything else           exit code 1

/// A file or data set that cannot be used. The message names path, position and cause.
struct DataError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// Training met NaN or Inf, or diverged. The message names the step and the first bad thing.
struct NonFiniteError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// A file could not be written. The message names the path and the system's reason.
struct StorageError : std::runtime_error {
  StorageError(const std::string& what, int number)
      : std::runtime_error(what), error_number(number) {}
  /// errno of the call that failed.
  int error_number;
};
/// A run folder is used by another process.
struct InUseError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

namespace detail {
template <class... Parts>
std::string message(std::string_view stem, const Parts&... parts) {
  std::ostringstream out;
  out << '[' << stem << "] ";
  (out << ... << parts);
  return std::move(out).str();
}
}  // namespace detail

/// Throws `Error` with "[stem] parts...".
template <class Error = std::invalid_argument, class... Parts>
[[noreturn]] void fail(std::string_view stem, const Parts&... parts) {
  throw Error(detail::message(stem, parts...));
}

/// Throws `Error` with "[stem] parts..." unless `ok`. Pattern: what is required, then what was got:
///   check(p >= 0 && p < 1, "drop_path", "drop_prob must be in [0, 1), got ", p);
template <class Error = std::invalid_argument, class... Parts>
void check(bool ok, std::string_view stem, const Parts&... parts) {
  if (!ok) [[unlikely]] {
    fail<Error>(stem, parts...);
  }
}

}  // namespace ballast
