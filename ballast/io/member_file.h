#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <ballast/io/file.h>

namespace ballast {

/// One member's scores on some rows, from any system.
struct MemberTable {
  /// (n, k) in C order.
  std::vector<float> scores;
  int64_t n = 0;
  int32_t k = 0;
  /// Scores are logits; false: probabilities.
  bool is_logit = true;
  /// Ids of the rows as the file has them (numbers or names); empty: it has none, and the position counts.
  std::vector<std::string> id;
  /// True classes, or empty.
  std::vector<int32_t> label;
  /// Names of the classes, or empty.
  std::vector<std::string> classes;
  /// Of a safetensors file: split, model, ...
  std::map<std::string, std::string> metadata;
  std::string source;  ///< the file, for messages
};

/// Reads predictions:
///
///   .safetensors  of `ballast train` and `ballast eval --predictions` (tensors index, target, logits), or of
///                 write_member_table() (scores, id, label); metadata `classes`, `is_logit`
///   .npy          an array (n, k) of float32 or float64, C order, little-endian
///   .csv          a line each row. With a header: columns `id` (or `file`) and `label` (or `target`) are what they say, columns
///                 `logit:NAME`, if there are any, else all others, are the scores of class NAME. Without one: scores only
///
/// Rows of .npy and .csv that are all >= 0 and sum to 1 (to 1e-3) are probabilities, else logits. float64 is rounded to float32;
/// a score that float32 cannot hold is refused where scores are checked.
/// Errors   DataError with path and cause.
MemberTable read_member_table(const std::filesystem::path& path);

/// Labels: .npy of integers (n), .csv with a column `label` (or `target`) and perhaps `id`, or one number a line; or those of a
/// safetensors file.
struct LabelTable {
  std::vector<std::string> id;
  std::vector<int32_t> label;
};
LabelTable read_label_table(const std::filesystem::path& path);

/// Writes a safetensors file: scores F32 (n, k), id U64 (n; the position where an id is no number), label I32 (n) if there are
/// labels; metadata as given, and `is_logit`, `classes`, `class_names`.
/// Errors   std::invalid_argument if sizes disagree; StorageError.
void write_member_table(const std::filesystem::path& path, const MemberTable& table);

/// Brings all tables to the rows and classes of the first: the same ids in another order are reordered, and so are the same
/// class names. Labels must agree; a table without labels takes those of one that has them.
/// Errors   DataError `[members] B lacks 3 of the rows of A: 17, 19, 20`, `[members] classes must match: "t-shirt" is 9 in B and
///          3 in A` where names differ, and for labels that differ.
void align_member_tables(std::vector<MemberTable>& tables);

}  // namespace ballast
