#include <ballast/augment/catalog.h>

#include <vector>

#include <ballast/augment/operation.h>
#include <ballast/augment/pipeline_text.h>

namespace ballast {

std::string_view to_string(AugmentGroup group) {
  constexpr std::string_view names[] = {"geometry", "crop", "color", "erase", "combine", "policy", "convert"};
  return names[static_cast<size_t>(group)];
}

std::span<const AugmentEntry> augment_catalog() {
  static const std::vector<AugmentEntry> entries = [] {
    std::vector<AugmentEntry> out;
    for (const detail::Operation& op : detail::operations()) {
      out.push_back({op.name, op.alias, op.number, op.group, detail::describe_arguments(op), op.summary, op.random});
    }
    return out;
  }();
  return entries;
}

}  // namespace ballast
