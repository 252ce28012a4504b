#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ballast::cli {

/// A place in which two files of two runs differ.
struct FileDifference {
  std::string file;   ///< "metrics.jsonl", "checkpoints/step-000000060/model.safetensors"
  std::string place;  ///< "step 12, loss", "layer1.0.conv1.weight at 3", "byte 17"
  std::string a, b;   ///< the two values; empty where only places are known
};

/// A row of metrics.jsonl whose step or a field differs first: place, both values. Nothing if one is the other's beginning
/// and `prefix` is set, or both are equal.
/// Errors  DataError: a file is missing or no JSON lines.
std::optional<FileDifference> first_record_difference(const std::filesystem::path& a, const std::filesystem::path& b,
                                                      bool prefix = false);

/// Where two files differ first: for .jsonl the row and field, for .safetensors the tensor and number, else the byte. Nothing:
/// equal byte for byte.
std::optional<FileDifference> first_difference(const std::filesystem::path& a, const std::filesystem::path& b);

/// The newest checkpoint of a run, "checkpoints/step-000000060"; empty if there is none.
std::string newest_checkpoint(const std::filesystem::path& run);

/// The files of a run that must have the same bytes however it was interrupted: record, result, tables, model, predictions, and all
/// of the newest checkpoint but what depends on the clock. Relative, sorted.
std::vector<std::string> repeatable_files(const std::filesystem::path& run);

/// The differing files of two runs among repeatable_files() of both; a missing one counts. metrics.jsonl comes first.
std::vector<FileDifference> run_differences(const std::filesystem::path& a, const std::filesystem::path& b);

}  // namespace ballast::cli
