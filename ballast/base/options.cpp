#include <ballast/base/options.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace ballast {
namespace {

std::string shortest(double x) {
  if (std::isnan(x)) {
    return "nan";
  }
  if (std::isinf(x)) {
    return x > 0 ? "inf" : "-inf";
  }
  if (std::abs(x) < 1e15 && x == std::trunc(x)) {
    return std::to_string(static_cast<int64_t>(x));  // to_chars would write 1000000 as 1e+06
  }
  char buffer[32];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, x).ptr};
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t end = text.find(separator);
    if (end != 0) {
      parts.emplace_back(text.substr(0, end));
    }
    text = end == std::string_view::npos ? "" : text.substr(end + 1);
  }
  return parts;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
    }
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      constexpr char kHex[] = "0123456789ABCDEF";
      const auto u = static_cast<unsigned char>(c);
      out += "\\u00";
      out += kHex[u >> 4];
      out += kHex[u & 15];
      continue;
    }
    out += c;
  }
  return out + "\"";
}

/// The value as the user wrote it, for "got ...".
std::string shown(const OptionValue& v) {
  struct Show {
    bool loose;
    std::string operator()(bool b) const { return b ? "true" : "false"; }
    std::string operator()(int64_t i) const { return std::to_string(i); }
    std::string operator()(double d) const { return shortest(d); }
    std::string operator()(const std::string& s) const { return quoted(s) + (loose ? "" : " (a text)"); }
    std::string operator()(const std::vector<OptionValue>&) const { return "a list"; }
  };
  return std::visit(Show{v.loose}, v.value);
}

const std::string* text_of(const OptionValue& v) { return std::get_if<std::string>(&v.value); }

template <class T>
bool parse_whole(std::string_view text, T& out) {
  if (text.starts_with('+')) {
    text.remove_prefix(1);
  }
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

std::string must_be(std::string_view kind, const Range& range, const OptionValue& v) {
  std::string out = "must be " + std::string(kind);
  if (!range.unbounded()) {
    out += " " + range.text();
  }
  return out + ", got " + shown(v);
}

template <class T>
std::string read_integer(const OptionValue& v, const Field& field, T& out) {
  T x{};
  const std::string* text = text_of(v);
  if (v.loose && text != nullptr) {
    if (!parse_whole(*text, x)) {
      return must_be("an integer", field.range, v);
    }
  } else if (const int64_t* i = std::get_if<int64_t>(&v.value)) {
    if (std::is_unsigned_v<T> && *i < 0) {
      return must_be("an integer", at_least(0), v);
    }
    x = static_cast<T>(*i);
  } else {
    return must_be("an integer", field.range, v);
  }
  if (!field.range.holds(static_cast<double>(x))) {
    return must_be("an integer", field.range, v);
  }
  out = x;
  return "";
}

template <class T>
std::string read_list(const OptionValue& v, const Field& field, std::vector<T>& out, std::string_view kind) {
  std::vector<OptionValue> parts;
  const std::string* text = text_of(v);
  if (const auto* list = std::get_if<std::vector<OptionValue>>(&v.value)) {
    parts = *list;
  } else if (v.loose && text != nullptr) {
    for (std::string& part : split(*text, ',')) {
      parts.push_back(OptionValue::from_text(std::move(part)));
    }
  } else {
    return "must be " + std::string(kind) + ", got " + shown(v);
  }
  if (field.count != 0 && parts.size() != field.count) {
    return "must be " + std::string(kind) + " with " + std::to_string(field.count) + " elements, got " +
        std::to_string(parts.size());
  }
  std::vector<T> result(parts.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    T x{};
    if (std::string error = detail::read_option(parts[i], field, x); !error.empty()) {
      return "element " + std::to_string(i + 1) + " " + error;
    }
    result[i] = std::move(x);
  }
  out = std::move(result);
  return "";
}

template <class T>
std::string list_text(const std::vector<T>& list) {
  std::string out = "[";
  for (const T& x : list) {
    out += (out.size() > 1 ? ", " : "") + detail::option_text(x);
  }
  return out + "]";
}

}  // namespace

bool Range::holds(double x) const {
  return (low_open ? x > low : x >= low) && (high_open ? x < high : x <= high);
}
bool Range::unbounded() const { return std::isinf(low) && std::isinf(high); }
std::string Range::text() const {
  if (std::isinf(high)) {
    return (low_open ? "> " : ">= ") + shortest(low);
  }
  if (std::isinf(low)) {
    return (high_open ? "< " : "<= ") + shortest(high);
  }
  return std::string("in ") + (low_open ? "(" : "[") + shortest(low) + ", " + shortest(high) + (high_open ? ")" : "]");
}

namespace detail {

bool is_word(const OptionValue& value, std::string_view word) {
  const std::string* text = text_of(value);
  return text != nullptr && *text == word;
}

std::string read_option(const OptionValue& v, const Field&, bool& out) {
  const std::string* text = text_of(v);
  if (const bool* b = std::get_if<bool>(&v.value)) {
    out = *b;
  } else if (v.loose && text != nullptr && (*text == "true" || *text == "1" || *text == "on" || *text == "yes")) {
    out = true;
  } else if (v.loose && text != nullptr && (*text == "false" || *text == "0" || *text == "off" || *text == "no")) {
    out = false;
  } else {
    return "must be true or false, got " + shown(v);
  }
  return "";
}
std::string read_option(const OptionValue& v, const Field& field, int64_t& out) { return read_integer(v, field, out); }
std::string read_option(const OptionValue& v, const Field& field, uint64_t& out) {
  return read_integer(v, field, out);
}
std::string read_option(const OptionValue& v, const Field& field, double& out) {
  double x = 0;
  const std::string* text = text_of(v);
  if (v.loose && text != nullptr) {
    if (!parse_whole(*text, x)) {
      return must_be("a number", field.range, v);
    }
  } else if (const double* d = std::get_if<double>(&v.value)) {
    x = *d;
  } else if (const int64_t* i = std::get_if<int64_t>(&v.value)) {
    x = static_cast<double>(*i);
  } else {
    return must_be("a number", field.range, v);
  }
  if (!std::isfinite(x)) {
    return "must be a finite number, got " + shown(v);
  }
  if (!field.range.holds(x)) {
    return must_be("a number", field.range, v);
  }
  out = x;
  return "";
}
std::string read_option(const OptionValue& v, const Field& field, std::string& out) {
  const std::string* text = text_of(v);
  if (text == nullptr) {
    return "must be a text, got " + shown(v);
  }
  if (!field.choices.empty()) {
    const std::vector<std::string> choices = split(field.choices, ' ');
    if (std::find(choices.begin(), choices.end(), *text) == choices.end()) {
      std::string all;
      for (size_t i = 0; i < choices.size(); ++i) {
        all += (i == 0 ? "" : i + 1 == choices.size() ? " or " : ", ") + choices[i];
      }
      return "must be " + all + ", got " + quoted(*text) + did_you_mean(*text, choices);
    }
  }
  if (field.check) {
    if (std::string error = field.check(*text); !error.empty()) {
      return error;
    }
  }
  out = *text;
  return "";
}
std::string read_option(const OptionValue& v, const Field& field, Duration& out) {
  Duration d;
  if (const std::string* text = text_of(v)) {
    try {
      d = Duration::parse(*text, field.unit);
    } catch (const std::invalid_argument&) {
      return "must be a number with ep, st, %, s, m or h, such as 5ep or 45m, got " + quoted(*text);
    }
  } else {
    double amount = 0;
    if (!read_option(v, Field{}, amount).empty() || amount < 0) {
      return "must be a number with ep, st, %, s, m or h, such as 5ep or 45m, got " + shown(v);
    }
    d = {amount, field.unit};
    if (field.unit == Duration::Unit::seconds) {
      d.amount = amount;
    }
  }
  if (!field.range.holds(d.amount)) {
    return must_be("a duration", field.range, v);
  }
  const bool wants_time = field.unit == Duration::Unit::seconds;
  if (wants_time && !d.is_time()) {
    return "must be a time such as 45m or 2h, got " + shown(v);
  }
  out = d;
  return "";
}
std::string read_option(const OptionValue& v, const Field& field, std::vector<int64_t>& out) {
  return read_list(v, field, out, "a list of integers");
}
std::string read_option(const OptionValue& v, const Field& field, std::vector<double>& out) {
  return read_list(v, field, out, "a list of numbers");
}
std::string read_option(const OptionValue& v, const Field& field, std::vector<std::string>& out) {
  return read_list(v, field, out, "a list of texts");
}

std::string option_text(const bool& value) { return value ? "true" : "false"; }
std::string option_text(const int64_t& value) { return std::to_string(value); }
std::string option_text(const uint64_t& value) { return std::to_string(value); }
std::string option_text(const double& value) { return shortest(value); }
std::string option_text(const std::string& value) { return quoted(value); }
std::string option_text(const Duration& value) { return quoted(value.text()); }
std::string option_text(const std::vector<int64_t>& value) { return list_text(value); }
std::string option_text(const std::vector<double>& value) { return list_text(value); }
std::string option_text(const std::vector<std::string>& value) { return list_text(value); }

std::string option_type(const bool*) { return "true or false"; }
std::string option_type(const int64_t*) { return "integer"; }
std::string option_type(const uint64_t*) { return "integer"; }
std::string option_type(const double*) { return "number"; }
std::string option_type(const std::string*) { return "text"; }
std::string option_type(const Duration*) { return "duration"; }
std::string option_type(const std::vector<int64_t>*) { return "list of integers"; }
std::string option_type(const std::vector<double>*) { return "list of numbers"; }
std::string option_type(const std::vector<std::string>*) { return "list of texts"; }

}  // namespace detail

std::string OptionRow::plain() const {
  std::string out = text();
  if (out.size() >= 2 && out.front() == '"' && out.find('\\') == std::string::npos) {
    return out.substr(1, out.size() - 2);
  }
  return out;
}
std::vector<std::string> OptionRow::flags() const { return split(field.flags, ' '); }
std::string OptionRow::environment() const {
  std::string out = "BALLAST_" + key;
  for (char& c : out) {
    c = c == '.' ? '_' : (c >= 'a' && c <= 'z') ? static_cast<char>(c - 'a' + 'A') : c;
  }
  return out;
}

namespace {
std::string join(const std::vector<OptionProblem>& problems) {
  std::string out;
  for (const OptionProblem& p : problems) {
    out += (out.empty() ? "" : "\n") + p.place + (p.place.empty() ? "" : ": ") + p.text;
  }
  return out;
}
}  // namespace

OptionError::OptionError(std::vector<OptionProblem> all)
    : std::invalid_argument(join(all)), problems(std::move(all)) {}

const OptionRow* OptionTable::find(std::string_view key) const {
  const auto it = std::find_if(rows_.begin(), rows_.end(), [&](const OptionRow& r) { return r.key == key; });
  return it == rows_.end() ? nullptr : &*it;
}
OptionRow* OptionTable::find(std::string_view key) {
  return const_cast<OptionRow*>(static_cast<const OptionTable*>(this)->find(key));
}

std::vector<std::string> OptionTable::keys() const {
  std::vector<std::string> out;
  for (const OptionRow& row : rows_) {
    out.push_back(row.key);
  }
  return out;
}

std::string OptionTable::unknown_key(std::string_view key) const {
  std::string near;
  const std::string_view name = key.substr(key.find('.') == std::string_view::npos ? 0 : key.find('.') + 1);
  // The same name in another section says more than a near spelling in this one.
  for (const OptionRow& row : rows_) {
    if (row.name() == name) {
      near = row.key;
      break;
    }
  }
  if (near.empty()) {
    near = nearest_name(key, keys());
  }
  return "unknown key \"" + std::string(key) + "\"" + (near.empty() ? "" : "; did you mean \"" + near + "\"?");
}

std::string OptionTable::set(std::string_view key, const OptionValue& value, std::string origin) {
  OptionRow* row = find(key);
  if (row == nullptr) {
    return unknown_key(key);
  }
  const std::string error = row->read(value);
  if (!error.empty()) {
    return row->key + " " + error;
  }
  row->origin = std::move(origin);
  return "";
}

std::string OptionTable::render() const {
  std::string out, section;
  for (const OptionRow& row : rows_) {
    if (row.section() != section) {
      section = row.section();
      out += (out.empty() ? "[" : "\n[") + section + "]\n";
    }
    out += row.name() + " = " + row.text() + "  # " + row.origin + "\n";
  }
  return out;
}

}  // namespace ballast
