#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace ballast {

/// One operation of a pipeline.
struct AugmentEntry {
  std::string_view name;
  /// Short name, or empty.
  std::string_view alias;
  /// Enters the key of the operation's draws; never reused.
  uint32_t number;
  /// Arguments with their defaults, positional ones first: "size, scale=[0.08, 1], ratio=[3/4, 4/3], ...".
  std::string_view arguments;
  std::string_view summary;
  /// True if it draws numbers.
  bool random;
};

/// All operations, in the order of their numbers.
std::span<const AugmentEntry> augment_catalog();

}  // namespace ballast
