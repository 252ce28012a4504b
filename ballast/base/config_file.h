#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ballast/base/options.h>

namespace ballast {

/// A layer of configuration from TOML 1.0 text: sets the table's keys, with origin "path:line". Types are strict: "2e-5"
/// is not a number. All that is wrong is returned, each with its place "path:line:column"; good keys are set all the same.
/// A text may be given as a list of tables [[section.key]] with `op`: a pipeline, rotate(degrees=15) | invert(p=1.0).
std::vector<OptionProblem> apply_toml(OptionTable& table, std::string_view text, const std::string& path);

/// The layer of the environment: variables ("NAME=value") named BALLAST_SECTION_KEY, with origin "env". Variables of
/// other BALLAST_ names are left alone, one that begins with a section's name but is no key is a problem.
std::vector<OptionProblem> apply_environment(OptionTable& table, std::span<const std::string> variables);

}  // namespace ballast
