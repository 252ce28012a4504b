#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <ballast/io/json.h>

namespace ballast::cli {

/// A member of an ensemble's folder. Its number is given once and never used again.
struct PlannedMember {
  int64_t id = 0;
  std::string name;
  /// Relative to the ensemble's folder, or absolute: adopted.
  std::string folder;
  uint64_t seed = 0;
  bool adopted = false;
  bool retired = false;
  /// Keys of a run that are its own: {"model.name", "lenet"}.
  std::vector<std::pair<std::string, std::string>> recipe;
};

/// plan.json of an ensemble's folder: written before training, then only appended to.
struct EnsemblePlan {
  uint64_t seed = 0;
  int64_t threads = 1;  ///< of each member
  /// Keys of a run that all members have.
  std::vector<std::pair<std::string, std::string>> common;
  std::vector<PlannedMember> members;
};

/// Errors   DataError.
EnsemblePlan read_plan(const std::filesystem::path& folder);
bool has_plan(const std::filesystem::path& folder);
void write_plan(const std::filesystem::path& folder, const EnsemblePlan& plan);

/// The path of a member's run folder.
std::filesystem::path member_folder(const std::filesystem::path& ensemble, const PlannedMember& member);

}  // namespace ballast::cli
