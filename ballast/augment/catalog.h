#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ballast {

enum class AugmentGroup : uint8_t { geometry, crop, color, erase, combine, policy, convert };
std::string_view to_string(AugmentGroup group);

/// One operation of a pipeline.
struct AugmentEntry {
  std::string_view name;
  /// Short name, or empty.
  std::string_view alias;
  /// Enters the key of the operation's draws; never reused.
  uint32_t number;
  AugmentGroup group;
  /// Arguments with their defaults, in the order of positional values: "size, scale=[0.08, 1], ...".
  std::string arguments;
  std::string_view summary;
  /// True if it draws numbers.
  bool random;
};

/// All operations, in the order of their numbers.
std::span<const AugmentEntry> augment_catalog();

}  // namespace ballast
