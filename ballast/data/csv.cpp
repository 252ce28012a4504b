#include <ballast/base/check.h>
#include <ballast/data/csv.h>

namespace ballast {

std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) {
    return std::string(text);
  }
  std::string quoted = "\"";
  for (const char c : text) {
    quoted += c;
    if (c == '"') {
      quoted += c;
    }
  }
  return quoted + '"';
}

void parse_csv(
    std::string_view text, std::string_view label,
    const std::function<void(const std::vector<std::string>& fields, int64_t line)>& on_row) {
  constexpr size_t kMostFields = 1000;
  constexpr size_t kMostBytes = size_t{1} << 20;
  if (text.starts_with("\xef\xbb\xbf")) {
    text.remove_prefix(3);
  }
  int64_t line = 1;
  size_t at = 0;
  std::vector<std::string> fields;
  while (at < text.size()) {
    const int64_t first_line = line;
    const size_t first = at;
    const auto require = [&](bool ok, std::string_view what) {
      check<DataError>(ok, "csv", label, ": line ", line, ": ", what);
    };
    fields.clear();
    for (bool more = true; more;) {
      std::string field;
      if (at < text.size() && text[at] == '"') {
        ++at;
        for (;;) {
          require(at < text.size(), "a quote is not closed");
          const char c = text[at++];
          if (c == '"') {
            if (at < text.size() && text[at] == '"') {
              ++at;
            } else {
              break;
            }
          }
          line += c == '\n';
          field += c;
          require(at - first <= kMostBytes, "a row must have at most 1 MiB");
        }
        require(at == text.size() || text[at] == ',' || text[at] == '\n' || text[at] == '\r',
                "text stands behind a closing quote");
      } else {
        const size_t end = std::min(text.find_first_of(",\n\"", at), text.size());
        require(end == text.size() || text[end] != '"',
                "a field that holds quotes must stand in quotes");
        field = text.substr(at, end - at);
        at = end;
        require(at - first <= kMostBytes, "a row must have at most 1 MiB");
        if ((at == text.size() || text[at] == '\n') && field.ends_with('\r')) {
          field.pop_back();
        }
      }
      require(field.find('\0') == std::string::npos, "a field must not hold a zero byte");
      require(fields.size() < kMostFields, "a row must have at most 1,000 fields");
      fields.push_back(std::move(field));
      more = at < text.size() && text[at] == ',';
      at += more;
    }
    if (at < text.size() && text[at] == '\r') {
      ++at;
      require(at == text.size() || text[at] == '\n', "a carriage return stands alone");
    }
    if (at < text.size()) {
      ++at;  // the new line
      ++line;
    }
    if (fields.size() > 1 || !fields[0].empty()) {
      on_row(fields, first_line);
    }
  }
}

}  // namespace ballast
