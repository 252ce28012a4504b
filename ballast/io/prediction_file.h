#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <ballast/io/file.h>

namespace ballast {

/// What a model said about each sample of a split: one row per sample, sorted by index, each sample once. Every metric is
/// a function of this table; ensembles read it too.
struct PredictionTable {
  /// Sample ids, rising strictly.
  std::vector<int64_t> index;
  /// True class, predicted class.
  std::vector<int32_t> target;
  std::vector<int32_t> pred;
  /// Rank of the target among the logits: 0 is right at top 1, k - 1 or less at top k. -1: a logit is not finite.
  std::vector<int32_t> rank;
  /// Cross-entropy of the row, and the probability of the predicted class.
  std::vector<double> loss;
  std::vector<double> confidence;
  /// (N, classes) in C order; empty if they were not kept.
  std::vector<float> logits;
  int64_t classes = 0;
  /// A picture has any number of the classes. Then `targets` (N, classes) says which, 1 or 0, in place of target, pred, rank
  /// and confidence, which are empty; loss is the sum of the binary cross-entropies of all classes.
  bool several_labels = false;
  std::vector<uint8_t> targets = {};
  /// Written to the file's metadata: split, model, data digest, ... whatever the caller states.
  std::map<std::string, std::string> metadata;

  int64_t size() const { return static_cast<int64_t>(index.size()); }
  /// Sorts the rows by index.
  void sort();
  bool operator==(const PredictionTable&) const = default;
};

/// Writes a table as a safetensors file (index I64, target pred rank I32, loss confidence F64, logits F32; of several labels
/// index I64, targets U8, loss F64, logits F32, and "labels": "several" in the metadata).
/// Errors   std::invalid_argument if columns differ in length or rows are not sorted by index; StorageError.
void write_predictions(FileSystem& fs, const std::filesystem::path& path,
                       const PredictionTable& table);
void write_predictions(const std::filesystem::path& path, const PredictionTable& table);

/// Errors   DataError with path and cause: a column missing, of another type or length, classes out of range.
PredictionTable read_predictions(const std::filesystem::path& path);

}  // namespace ballast
