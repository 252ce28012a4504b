#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <ballast/ensemble/metrics.h>
#include <ballast/ensemble/predictions.h>
#include <ballast/ensemble/roles.h>
#include <ballast/io/json.h>
#include <ballast/io/member_file.h>

#include "command.h"

namespace ballast::cli {

/// Flags of every command that gives figures.
struct FigureFlags {
  uint64_t seed = 0;
  Auto<int64_t> threads;
};
template <class Visitor>
void describe(Visitor& visit, FigureFlags& o) {
  visit("seed", o.seed, {.help = "draws the roles and the intervals", .flags = "--seed"});
  visit("threads", o.threads, {.help = "threads", .flags = "--threads", .range = between(1, 4096)});
}

/// Those of every command that reads members' predictions.
struct MemberFlags : FigureFlags {
  std::string labels;
  double select_share = 0.3;
  double calib_share = 0.2;
  bool share_roles = false;
  bool trust_roles = false;
};
template <class Visitor>
void describe(Visitor& visit, MemberFlags& o) {
  visit("labels", o.labels,
        {.help = "true classes of the rows: .csv, .npy or .safetensors; needed where the members' "
                 "files have none",
         .flags = "--labels",
         .value_name = "FILE"});
  visit("select_share", o.select_share,
        {.help = "share of the rows that weights, selection and stacking may read, where members "
                 "have one "
                 "file each",
         .flags = "--select-share",
         .range = half_open(0, 1)});
  visit("calib_share", o.calib_share,
        {.help = "share of the rows for calibration, likewise",
         .flags = "--calib-share",
         .range = half_open(0, 1)});
  visit("share_roles", o.share_roles,
        {.help = "fit and judge on the same rows; figures are marked optimistic",
         .flags = "--share-roles"});
  visit("trust_roles", o.trust_roles,
        {.help = "take predictions that say they are of the training rows",
         .flags = "--trust-roles"});
  describe(visit, static_cast<FigureFlags&>(o));
}

/// The members' scores on the rows of one role.
struct RoleTable {
  std::vector<MemberTable> tables;
  std::vector<int32_t> label;
  /// Numbers of the rows, for the ledger: equal numbers are equal rows.
  std::vector<uint64_t> row;

  int64_t size() const { return static_cast<int64_t>(row.size()); }
  std::vector<Predictions> views() const;
};

/// Members, by role.
struct EnsembleInput {
  /// The ensemble's folder; empty: files.
  std::filesystem::path folder;
  std::vector<int64_t> id;  ///< numbers of the members
  std::vector<std::string> name;
  /// Of an ensemble's folder: the runs of each member, as ensemble.json names them.
  std::vector<std::vector<std::string>> nets;
  std::vector<std::string> classes;  ///< or empty
  RoleTable select, calib, test;
  /// All rows of the members' files, where each has one; else those of test.
  RoleTable all;
  /// How the roles came about, and whether figures are better than honest ones.
  std::string roles;
  bool optimistic = false;

  const RoleTable& of(DataRole role) const;
};

/// What a command will read: roles that are drawn out of one file only where they are needed.
struct Needs {
  bool select = false, calib = false;
  bool labels = true;
};

/// Operands are prediction files, run folders, or one folder of an ensemble.
///
/// Run folders   predictions/test.safetensors; role select and calib are halves of
/// predictions/hold.safetensors where every
///               member has it, else shares of the rows of test, as of files.
/// Files         a share of the rows each where something is fitted; all rows are test where
///               nothing is.
/// Errors        DataError; std::invalid_argument.
EnsembleInput load_members(const std::vector<std::string>& operands, const MemberFlags& flags,
                           const Needs& needs);

/// ensemble.json of a folder, or an empty object.
JsonValue read_ensemble_json(const std::filesystem::path& folder);
void write_ensemble_json(const std::filesystem::path& folder, const JsonValue& value);

/// Figures of probabilities on one role.
struct Figures {
  std::string name;
  Quality quality;
  QualityBounds bounds;
};
Figures figures_of(std::string name, const Predictions& p, std::span<const int32_t> label,
                   std::span<const int32_t> predicted, const FigureFlags& flags);
/// The same of every member.
std::vector<Figures> member_figures(const EnsembleInput& input, const RoleTable& rows,
                                    const FigureFlags& flags);
/// A table of figures with 95 % intervals, and as JSON.
std::string figures_text(const std::vector<Figures>& rows);
nlohmann::ordered_json figures_json(const Figures& f);
/// "role test, 10,000 rows; 95 % intervals of 1,000 resamplings", with a word where figures are
/// optimistic.
std::string figures_note(const EnsembleInput& input, const RoleTable& rows, std::string_view role);

int thread_count(const FigureFlags& flags);

}  // namespace ballast::cli
