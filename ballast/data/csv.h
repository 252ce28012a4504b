#pragma once

#include <string>
#include <string_view>

namespace ballast {

/// A field of a CSV line as RFC 4180 quotes it.
std::string csv_field(std::string_view text);

}  // namespace ballast
