#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace ballast::cli {

/// A member of an ensemble's folder.
struct PlannedMember {
  int64_t id = 0;  ///< given once and never used again
  std::string name;
  std::string folder;  ///< of its run: absolute, or relative to the ensemble's
  bool retired = false;
};

/// plan.json of an ensemble's folder: its members, in the order they came.
struct EnsemblePlan {
  std::vector<PlannedMember> members;
};

bool has_plan(const std::filesystem::path& folder);
/// Errors   DataError.
EnsemblePlan read_plan(const std::filesystem::path& folder);
void write_plan(const std::filesystem::path& folder, const EnsemblePlan& plan);

/// The path of a member's run folder.
std::filesystem::path member_folder(const std::filesystem::path& ensemble, const PlannedMember& member);
/// A member's predictions on the test part are there.
bool is_finished(const std::filesystem::path& run);

}  // namespace ballast::cli
