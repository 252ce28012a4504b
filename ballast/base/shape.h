#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ballast {

/// "(3, 32, 32)", "(8)", "()".
std::string shape_text(std::span<const int64_t> sizes);
/// "3x32x32".
std::string size_text(std::span<const int64_t> sizes);
/// Sizes from "3x224x224" or "3,224,224", each at least 1.
/// Errors: std::invalid_argument.
std::vector<int64_t> parse_size(std::string_view text);

/// Product of sizes, 1 for none.
/// Errors: std::invalid_argument if a size is negative or the product exceeds int64_t.
int64_t numel(std::span<const int64_t> sizes);

}  // namespace ballast
