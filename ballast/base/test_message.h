#pragma once

// For tests of any room: what an error says.

#include <functional>
#include <stdexcept>
#include <string>

namespace ballast {

/// The message of the E that f throws; "nothing thrown" if it throws nothing.
template <class E = std::invalid_argument>
std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  return "nothing thrown";
}

}  // namespace ballast
