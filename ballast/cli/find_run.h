#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace ballast::cli {

/// The folder of a run that a user names: a path, a name in runs/, or "last" for the one that was written last.
/// Errors: DataError if there is no run (a config.toml) there.
std::filesystem::path find_run(const std::string& text);

/// The runs in a folder, those written last first.
std::vector<std::filesystem::path> runs_in(const std::filesystem::path& folder);

}  // namespace ballast::cli
