#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ballast {

/// A JSON value: built to be written, or read from a file.
///
///   JsonValue row = JsonValue::object();
///   row["kind"] = "train";
///   row["loss"] = 0.25;
///   row.text();                                     // {"kind":"train","loss":0.25}
///
/// Members of an object keep the order in which they were added. Doubles are written with the fewest digits that read
/// back to the same bits; NaN and infinities, which JSON lacks, as the strings "nan", "inf" and "-inf", and number()
/// reads these back.
class JsonValue {
 public:
  enum class Kind { null, boolean, integer, unsigned_integer, number, string, array, object };
  using Member = std::pair<std::string, JsonValue>;

  JsonValue() = default;
  JsonValue(std::nullptr_t) {}
  JsonValue(bool value) : kind_(Kind::boolean), integer_(value) {}
  JsonValue(int value) : JsonValue(static_cast<long long>(value)) {}
  JsonValue(long value) : JsonValue(static_cast<long long>(value)) {}
  JsonValue(long long value) : kind_(Kind::integer), integer_(static_cast<uint64_t>(value)) {}
  JsonValue(unsigned value) : JsonValue(static_cast<unsigned long long>(value)) {}
  JsonValue(unsigned long value) : JsonValue(static_cast<unsigned long long>(value)) {}
  JsonValue(unsigned long long value);
  JsonValue(double value) : kind_(Kind::number), number_(value) {}
  JsonValue(const char* value) : JsonValue(std::string_view(value)) {}
  JsonValue(std::string_view value) : kind_(Kind::string), string_(value) {}
  JsonValue(std::string value) : kind_(Kind::string), string_(std::move(value)) {}
  template <class T>
  JsonValue(const std::vector<T>& values) : kind_(Kind::array) {
    for (const T& value : values) elements_.emplace_back(value);
  }
  static JsonValue array() { return JsonValue(Kind::array); }
  static JsonValue object() { return JsonValue(Kind::object); }

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::null; }
  bool is_string() const { return kind_ == Kind::string; }
  bool is_array() const { return kind_ == Kind::array; }
  bool is_object() const { return kind_ == Kind::object; }
  /// An integer of any sign, or a double, or one of the strings "nan", "inf", "-inf".
  bool is_number() const;
  bool is_integer() const { return kind_ == Kind::integer || kind_ == Kind::unsigned_integer; }

  /// Object: the member of that name, added as null if missing; a null value becomes an object first.
  JsonValue& operator[](std::string_view name);
  /// Object: the member of that name, or nullptr; nullptr also if this is no object.
  const JsonValue* find(std::string_view name) const;
  /// Object: the member of that name. Errors: DataError if it is missing or this is no object.
  const JsonValue& at(std::string_view name) const;
  /// Object: the members in order; empty otherwise.
  const std::vector<Member>& members() const { return members_; }
  /// Array: adds an element; a null value becomes an array first.
  void push_back(JsonValue value);
  /// Array: the elements; empty otherwise.
  const std::vector<JsonValue>& elements() const { return elements_; }
  /// Elements or members.
  size_t size() const { return kind_ == Kind::object ? members_.size() : elements_.size(); }

  /// The value as that type. Errors: DataError if it is of another kind, or an integer outside the range.
  bool boolean() const;
  int64_t integer() const;
  uint64_t unsigned_integer() const;
  double number() const;
  const std::string& string() const;

  /// The value of a member as number or string, or `otherwise` if it is missing, null or of another kind.
  double number_or(std::string_view name, double otherwise) const;
  std::string string_or(std::string_view name, std::string_view otherwise) const;

  /// Compact text on one line; bytes that are not UTF-8 become U+FFFD. With `indent` > 0 on several lines.
  std::string text(int indent = 0) const;

  bool operator==(const JsonValue&) const = default;

 private:
  explicit JsonValue(Kind kind) : kind_(kind) {}
  void write(std::string& out, int indent, int level) const;

  Kind kind_ = Kind::null;
  uint64_t integer_ = 0;
  double number_ = 0;
  std::string string_;
  std::vector<JsonValue> elements_;
  std::vector<Member> members_;
};

struct JsonLimits {
  /// Objects and arrays inside one another, at most.
  int max_depth = 64;
  /// Refuse an object with two members of one name; otherwise the last counts.
  bool refuse_duplicates = true;
};

/// Reads one JSON document (RFC 8259; no comments, no trailing comma). `label` names it in errors.
/// Errors   DataError `[json] LABEL: ... at byte N`.
JsonValue parse_json(std::string_view text, std::string_view label, const JsonLimits& limits = {});

/// The shortest text that reads back to the same double ("0.1", "1e-07", "3"); "nan", "inf", "-inf".
std::string shortest_text(double value);

/// Appends a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD.
void append_json_string(std::string& out, std::string_view text);

/// Whether text is UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text);

}  // namespace ballast
