#pragma once

// For tests of any room: what an error says.

#include <functional>
#include <stdexcept>
#include <string>

namespace ballast {

/// The message of the std::invalid_argument that f throws; "" if it throws none.
inline std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "";
}

}  // namespace ballast
