#pragma once

// No torch in this header.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <ballast/ensemble/calibrate.h>
#include <ballast/ensemble/combine.h>
#include <ballast/ensemble/roles.h>
#include <ballast/ensemble/stack.h>
#include <ballast/io/json.h>

namespace ballast {

/// How the scores of members become one.
struct EnsembleRule {
  Rule rule = Rule::mean_probability;
  /// One per member; empty: equal.
  std::vector<double> weights;
  std::string weights_from = "uniform";  ///< uniform, fit, greedy, stack, given, prune
  std::vector<double> member_temperature;
  std::optional<Stack> stack;
  /// Of the combined scores; 1: none.
  double temperature = 1;
  /// Steps that have read rows: {role, step}.
  std::vector<std::pair<DataRole, std::string>> used;

  /// The members as one, before the temperature.
  Combined apply(std::span<const Predictions> members, int threads) const;
  /// Scores of a combination that a temperature divides.
  std::vector<float> scores(const Combined& c, size_t members) const;
  /// After the temperature; labels as before it.
  Combined tempered(const Combined& c, size_t members, int threads) const;
};

/// A member, as ensemble.json names it.
struct EnsembleMember {
  int64_t id = 0;
  std::string name;
  /// Its run or model folders, absolute or relative to the ensemble's. Several (nets of folds):
  /// the mean of their probabilities.
  std::vector<std::string> nets;
};

/// ensemble.json: what predicting needs to know beside the members' model folders.
struct EnsembleFile {
  EnsembleRule rule;
  std::vector<EnsembleMember> members;
  std::vector<std::string> classes;  ///< or empty
};

JsonValue to_json(const EnsembleFile& file);
/// Errors   DataError.
EnsembleFile ensemble_from_json(const JsonValue& json, const std::string& label);
/// The ensemble.json of a folder. Errors: DataError with the path and the cause.
EnsembleFile read_ensemble_file(const std::filesystem::path& folder);
/// Whether the folder is that of an ensemble: it holds an ensemble.json, or a plan.json from which
/// one is made.
bool is_ensemble_folder(const std::filesystem::path& folder);

}  // namespace ballast
