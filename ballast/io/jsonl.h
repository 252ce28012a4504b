#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <ballast/io/file.h>
#include <ballast/io/json.h>

namespace ballast {

/// Appends rows to a file of JSON lines (metrics.jsonl). A row is one write of one line; sync() makes the rows durable.
/// A cut last line, left by a crash, is removed when the file is opened, so every line of the file is whole.
class JsonlWriter {
 public:
  /// Errors   StorageError with path and cause.
  JsonlWriter(FileSystem& fs, const std::filesystem::path& path);
  explicit JsonlWriter(const std::filesystem::path& path);

  /// Adds a row and hands it to the system.
  void append(const JsonValue& row);
  void sync() { file_.sync(); }
  void close() { file_.close(); }
  /// Cuts the file to its first `size` bytes (a size() of before).
  void cut(uint64_t size) { file_.cut(size); }
  /// Bytes so far: a saved size is where the file is cut on resume.
  uint64_t size() const { return file_.size(); }

 private:
  AppendFile file_;
};

struct JsonlRows {
  std::vector<JsonValue> rows;
  /// Whether bytes after the last line feed were left out: the writer was interrupted.
  bool cut_last_line = false;
};

/// Reads a file of JSON lines. Empty lines are skipped; a last line without line feed is left out and reported.
/// Errors   DataError with path and line number, if any other line is no JSON.
JsonlRows read_jsonl(const std::filesystem::path& path);
/// The same from text; `label` names it in errors.
JsonlRows parse_jsonl(std::string_view text, std::string_view label);

}  // namespace ballast
