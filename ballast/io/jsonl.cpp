#include <ballast/io/jsonl.h>

#include <algorithm>

namespace ballast {

JsonlWriter::JsonlWriter(FileSystem& fs, const std::filesystem::path& path) : file_(fs, path) {
  const std::string text = read_text_file(fs, path);
  const size_t last = text.rfind('\n');
  const size_t whole = last == std::string::npos ? 0 : last + 1;
  if (whole != text.size()) file_.cut(whole);
}

JsonlWriter::JsonlWriter(const std::filesystem::path& path) : JsonlWriter(real_fs(), path) {}

void JsonlWriter::append(const JsonValue& row) {
  file_.append(row.text() + "\n");
  file_.flush();
}

JsonlRows parse_jsonl(std::string_view text, std::string_view label) {
  JsonlRows result;
  for (int64_t line = 1; !text.empty(); ++line) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) {
      result.cut_last_line = true;
      break;
    }
    const std::string_view row = text.substr(0, end);
    if (row.find_first_not_of(" \t\r") != std::string_view::npos) {
      result.rows.push_back(parse_json(row, std::string(label) + ":" + std::to_string(line)));
    }
    text.remove_prefix(end + 1);
  }
  return result;
}

JsonlRows read_jsonl(const std::filesystem::path& path) {
  return parse_jsonl(read_text_file(path), path.string());
}

}  // namespace ballast
