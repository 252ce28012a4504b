#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ballast/base/options.h>

namespace ballast::cli {

/// A member of an ensemble's folder.
struct PlannedMember {
  int64_t id = 0;  ///< given once and never used again
  std::string name;
  std::string folder;  ///< of its run: absolute, or relative to the ensemble's
  bool retired = false;
  bool lost = false;    ///< its training failed; `ensemble train` tries it again
  int64_t lowered = 0;  ///< how often its rate was cut because it diverged
  /// Of a member that the ensemble trains; none: it was adopted.
  std::optional<uint64_t> seed;
  /// Its nets, each trained without one fold, in folder/fold-0 ...; 0: one net, in the folder
  /// itself.
  int64_t folds = 0;
  /// Where its predictions are, in the ensemble's folder; empty: in its run. Of models that are no
  /// finished run.
  std::string predictions;
  /// Keys of a run that are its own, as text: {"model.name", "lenet"}.
  std::vector<std::pair<std::string, std::string>> recipe;
};

/// What `ensemble train` was asked for; `add` goes on with it.
struct TrainingPlan {
  uint64_t seed = 0;
  int64_t threads = 1;  ///< of each member
  std::vector<std::string> vary;
  std::string vary_mode = "zip";
  std::string bag = "none";
  /// What members do not draw of their own, but of `seed`: init, data, drop.
  std::vector<std::string> share;
  /// Keys that all members have, as TOML values: {"optim.lr", "0.1"}.
  std::vector<std::pair<std::string, std::string>> common;

  bool operator==(const TrainingPlan&) const = default;
};

/// plan.json of an ensemble's folder: its members, in the order they came. Written before anything
/// is trained, then only appended to.
struct EnsemblePlan {
  std::optional<TrainingPlan> training;  ///< none: all members are adopted
  std::vector<PlannedMember> members;
};

bool has_plan(const std::filesystem::path& folder);
/// Errors   DataError.
EnsemblePlan read_plan(const std::filesystem::path& folder);
void write_plan(const std::filesystem::path& folder, const EnsemblePlan& plan);

/// The path of a member's run folder, and the folders of its nets.
std::filesystem::path member_folder(const std::filesystem::path& ensemble,
                                    const PlannedMember& member);
std::vector<std::filesystem::path> member_runs(const std::filesystem::path& ensemble,
                                               const PlannedMember& member);
/// The seed of net `fold` of a member: its own, or of Key(seed).fold_in("fold").fold_in(fold) with
/// folds.
uint64_t net_seed(const PlannedMember& member, int64_t fold);
/// The folders that hold test.safetensors (and hold.safetensors) of its nets.
std::vector<std::filesystem::path> prediction_folders(const std::filesystem::path& ensemble,
                                                      const PlannedMember& member);
/// The predictions on the test part are there: of a run; of all nets of a member.
bool is_finished(const std::filesystem::path& run);
bool is_finished(const std::filesystem::path& ensemble, const PlannedMember& member);

/// Lists of texts are split at commas: {"lr=.1", ".2", "model=lenet"} is {"lr=.1,.2",
/// "model=lenet"} again.
std::vector<std::string> join_vary(const std::vector<std::string>& parts);

/// "key=a,b,c" as {"key", {"a", "b", "c"}}; the key may be written as its flag is: lr for optim.lr.
/// Errors   OptionError.
std::pair<std::string, std::vector<std::string>> parse_vary(const std::string& text,
                                                            const OptionTable& table);

/// Appends `count` members to a plan that has a TrainingPlan. The seed of member m is the 64 bits
/// of Key(seed).fold_in("member").fold_in(m). Of what varies it has: zip, level m mod L of each
/// key; grid, the m-th of all combinations, the last key fastest; random, levels drawn by Key(its
/// seed).fold_in("vary").
void plan_members(EnsemblePlan& plan, int64_t count, const OptionTable& table);

}  // namespace ballast::cli
