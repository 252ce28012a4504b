#include <ballast/io/json.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include <ballast/base/check.h>

namespace ballast {
namespace {

const char* kind_name(JsonValue::Kind kind) {
  switch (kind) {
    case JsonValue::Kind::null:
      return "null";
    case JsonValue::Kind::boolean:
      return "a boolean";
    case JsonValue::Kind::integer:
    case JsonValue::Kind::unsigned_integer:
      return "an integer";
    case JsonValue::Kind::number:
      return "a number";
    case JsonValue::Kind::string:
      return "a string";
    case JsonValue::Kind::array:
      return "an array";
    case JsonValue::Kind::object:
      return "an object";
  }
  return "?";
}

[[noreturn]] void wrong_kind(const char* required, const JsonValue& got) {
  fail<DataError>("json", "value must be ", required, ", got ", kind_name(got.kind()));
}

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

// The value that a string stands for where a number is expected.
bool non_finite_value(std::string_view text, double& value) {
  if (text == "nan") return value = kNan, true;
  if (text == "inf") return value = kInf, true;
  if (text == "-inf") return value = -kInf, true;
  return false;
}

// Length of the UTF-8 sequence at the start of `text` (no overlong form, no surrogate, at most U+10FFFF), or 0.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char b = byte(0);
  if (b < 0x80) return 1;
  const size_t n = b >= 0xc2 && b < 0xe0   ? 2
                   : (b & 0xf0) == 0xe0    ? 3
                   : b >= 0xf0 && b < 0xf5 ? 4
                                           : 0;
  if (n == 0 || text.size() < n) return 0;
  for (size_t i = 1; i < n; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if ((b == 0xe0 && byte(1) < 0xa0) || (b == 0xed && byte(1) > 0x9f) ||
      (b == 0xf0 && byte(1) < 0x90) || (b == 0xf4 && byte(1) > 0x8f)) {
    return 0;
  }
  return n;
}

// Builds a JsonValue from the events of nlohmann's parser, which keeps its own stack on the heap: input cannot exhaust ours.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Builder(const JsonLimits& limits) : limits_(limits) {}

  bool null() override { return add(JsonValue()); }
  bool boolean(bool value) override { return add(JsonValue(value)); }
  bool number_integer(number_integer_t value) override { return add(JsonValue(value)); }
  bool number_unsigned(number_unsigned_t value) override { return add(JsonValue(value)); }
  bool number_float(number_float_t value, const string_t&) override {
    return add(JsonValue(value));
  }
  bool string(string_t& value) override { return add(JsonValue(std::move(value))); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return open(JsonValue::object()); }
  bool start_array(size_t) override { return open(JsonValue::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (limits_.refuse_duplicates && open_.back().value.find(name) != nullptr) {
      error_ = "names in an object must be unique, got \"" + name + "\" twice";
      return false;
    }
    open_.back().name = std::move(name);
    return true;
  }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::json::exception& e) override {
    error_ = "must be JSON";
    std::string_view what = e.what();
    if (const size_t colon = what.find("; "); colon != std::string_view::npos) {
      error_ += ", got " + std::string(what.substr(colon + 2));
    } else {
      error_ += ", got a number that is out of range";
    }
    error_ += " at byte " + std::to_string(position);
    return false;
  }

  JsonValue root;
  const std::string& error() const { return error_; }

 private:
  struct Level {
    JsonValue value;
    std::string name;
  };
  bool add(JsonValue value) {
    if (open_.empty()) {
      root = std::move(value);
    } else if (Level& level = open_.back(); level.value.is_array()) {
      level.value.push_back(std::move(value));
    } else {
      level.value[level.name] = std::move(value);
    }
    return true;
  }
  bool open(JsonValue value) {
    if (static_cast<int>(open_.size()) >= limits_.max_depth) {
      error_ = "must be at most " + std::to_string(limits_.max_depth) + " levels deep, got more";
      return false;
    }
    open_.push_back({std::move(value), {}});
    return true;
  }
  bool close() {
    JsonValue value = std::move(open_.back().value);
    open_.pop_back();
    return add(std::move(value));
  }

  JsonLimits limits_;
  std::vector<Level> open_;
  std::string error_;
};

void new_line(std::string& out, int indent, int level) {
  if (indent > 0) {
    out += '\n';
    out.append(static_cast<size_t>(indent) * static_cast<size_t>(level), ' ');
  }
}

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t n = utf8_length(text);
    if (n == 0) return false;
    text.remove_prefix(n);
  }
  return true;
}

void append_json_string(std::string& out, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  while (!text.empty()) {
    const size_t n = utf8_length(text);
    const char c = text[0];
    if (n == 0) {
      out += "\xef\xbf\xbd";
      text.remove_prefix(1);
      continue;
    }
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += "\\u00";
          out += kHex[static_cast<unsigned char>(c) >> 4];
          out += kHex[static_cast<unsigned char>(c) & 15];
        } else {
          out += text.substr(0, n);
        }
    }
    text.remove_prefix(n);
  }
  out += '"';
}

std::string shortest_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  // "-0" would be read back as the integer 0.
  if (value == 0 && std::signbit(value)) return "-0.0";
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  return {buffer, end};
}

JsonValue::JsonValue(unsigned long long value)
    : kind_(value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
                ? Kind::integer
                : Kind::unsigned_integer),
      integer_(value) {}

bool JsonValue::is_number() const {
  double unused = 0;
  return is_integer() || kind_ == Kind::number ||
         (kind_ == Kind::string && non_finite_value(string_, unused));
}

JsonValue& JsonValue::operator[](std::string_view name) {
  if (kind_ == Kind::null) kind_ = Kind::object;
  if (kind_ != Kind::object) wrong_kind("an object", *this);
  for (auto& [key, value] : members_) {
    if (key == name) return value;
  }
  return members_.emplace_back(std::string(name), JsonValue()).second;
}

const JsonValue* JsonValue::find(std::string_view name) const {
  for (const auto& [key, value] : members_) {
    if (key == name) return &value;
  }
  return nullptr;
}

const JsonValue& JsonValue::at(std::string_view name) const {
  if (kind_ != Kind::object) wrong_kind("an object", *this);
  const JsonValue* value = find(name);
  check<DataError>(value != nullptr, "json", "member \"", name, "\" is required, got none");
  return *value;
}

void JsonValue::push_back(JsonValue value) {
  if (kind_ == Kind::null) kind_ = Kind::array;
  if (kind_ != Kind::array) wrong_kind("an array", *this);
  elements_.push_back(std::move(value));
}

bool JsonValue::boolean() const {
  if (kind_ != Kind::boolean) wrong_kind("a boolean", *this);
  return integer_ != 0;
}

int64_t JsonValue::integer() const {
  if (kind_ == Kind::unsigned_integer) {
    fail<DataError>("json", "value must be below 2^63, got ", integer_);
  }
  if (kind_ != Kind::integer) wrong_kind("an integer", *this);
  return static_cast<int64_t>(integer_);
}

uint64_t JsonValue::unsigned_integer() const {
  if (!is_integer()) wrong_kind("an integer", *this);
  check<DataError>(kind_ == Kind::unsigned_integer || static_cast<int64_t>(integer_) >= 0, "json",
                   "value must be 0 or more, got ", static_cast<int64_t>(integer_));
  return integer_;
}

double JsonValue::number() const {
  double value = number_;
  switch (kind_) {
    case Kind::integer:
      return static_cast<double>(static_cast<int64_t>(integer_));
    case Kind::unsigned_integer:
      return static_cast<double>(integer_);
    case Kind::number:
      return value;
    default:
      if (kind_ == Kind::string && non_finite_value(string_, value)) return value;
      wrong_kind("a number", *this);
  }
}

const std::string& JsonValue::string() const {
  if (kind_ != Kind::string) wrong_kind("a string", *this);
  return string_;
}

double JsonValue::number_or(std::string_view name, double otherwise) const {
  const JsonValue* value = find(name);
  return value != nullptr && value->is_number() ? value->number() : otherwise;
}

std::string JsonValue::string_or(std::string_view name, std::string_view otherwise) const {
  const JsonValue* value = find(name);
  return value != nullptr && value->is_string() ? value->string_ : std::string(otherwise);
}

void JsonValue::write(std::string& out, int indent, int level) const {
  switch (kind_) {
    case Kind::null:
      out += "null";
      break;
    case Kind::boolean:
      out += integer_ != 0 ? "true" : "false";
      break;
    case Kind::integer:
      out += std::to_string(static_cast<int64_t>(integer_));
      break;
    case Kind::unsigned_integer:
      out += std::to_string(integer_);
      break;
    case Kind::number:
      if (std::isfinite(number_)) {
        out += shortest_text(number_);
      } else {
        append_json_string(out, shortest_text(number_));
      }
      break;
    case Kind::string:
      append_json_string(out, string_);
      break;
    case Kind::array:
      out += '[';
      for (size_t i = 0; i < elements_.size(); ++i) {
        if (i > 0) out += ',';
        new_line(out, indent, level + 1);
        elements_[i].write(out, indent, level + 1);
      }
      if (!elements_.empty()) new_line(out, indent, level);
      out += ']';
      break;
    case Kind::object:
      out += '{';
      for (size_t i = 0; i < members_.size(); ++i) {
        if (i > 0) out += ',';
        new_line(out, indent, level + 1);
        append_json_string(out, members_[i].first);
        out += indent > 0 ? ": " : ":";
        members_[i].second.write(out, indent, level + 1);
      }
      if (!members_.empty()) new_line(out, indent, level);
      out += '}';
      break;
  }
}

std::string JsonValue::text(int indent) const {
  std::string out;
  write(out, indent, 0);
  return out;
}

JsonValue parse_json(std::string_view text, std::string_view label, const JsonLimits& limits) {
  // nlohmann takes a NUL for the end of its input and skips a byte order mark.
  const size_t nul = text.find('\0');
  check<DataError>(nul == std::string_view::npos, "json", label,
                   ": must be JSON, got a NUL at byte ", nul);
  check<DataError>(!text.starts_with("\xef\xbb\xbf"), "json", label,
                   ": must be JSON, got a byte order mark at byte 0");
  Builder builder(limits);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) {
    fail<DataError>("json", label, ": ", builder.error());
  }
  return std::move(builder.root);
}

}  // namespace ballast
