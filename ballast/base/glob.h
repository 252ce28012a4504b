#pragma once

#include <string_view>

namespace ballast {

/// Whether a dotted name matches a glob: `*` any characters (dots too), `?` one, everything else itself.
bool glob_matches(std::string_view glob, std::string_view name);

}  // namespace ballast
