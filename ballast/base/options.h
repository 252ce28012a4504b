#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <ballast/base/duration.h>
#include <ballast/base/nearest_name.h>

namespace ballast {

// Options are plain structs with defaults. One function
//
//   template <class Visitor>
//   void describe(Visitor& visit, OptimOptions& o) {
//     visit("lr", o.lr, {.help = "peak learning rate", .flags = "--lr --lr-base", .range = above(0)});
//   }
//
// is the single source of a key's flag, TOML key, environment variable, validation, help and resolved text: an
// OptionTable visits it and keeps a row per field that points into the struct.
//
// Field types: bool, int64_t, uint64_t, double, std::string, Duration, std::vector of double, int64_t or std::string;
// Auto<T> of them (the word `auto`: filled in later from the data) and std::optional<T> (the word `off`).

/// A value that is chosen from the data unless given: the word `auto`.
template <class T>
struct Auto {
  std::optional<T> given;

  Auto() = default;
  Auto(T value) : given(std::move(value)) {}  // NOLINT(google-explicit-constructor): x = 3 is the use
  bool is_auto() const { return !given.has_value(); }
  const T& value() const { return given.value(); }
  T value_or(T other) const { return given.value_or(std::move(other)); }
  const T& operator*() const { return *given; }
  const T* operator->() const { return &*given; }
  bool operator==(const Auto&) const = default;
};

/// An interval of numbers, printed as "[0, 1)".
struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false;
  bool high_open = false;

  bool holds(double x) const;
  bool unbounded() const;
  /// "in [0, 1)", ">= 0", "> 0".
  std::string text() const;
};
constexpr Range at_least(double low) { return {.low = low}; }
constexpr Range above(double low) { return {.low = low, .low_open = true}; }
constexpr Range between(double low, double high) { return {.low = low, .high = high}; }
/// [low, high)
constexpr Range half_open(double low, double high) { return {.low = low, .high = high, .high_open = true}; }
/// (low, high]
constexpr Range above_to(double low, double high) { return {.low = low, .high = high, .low_open = true}; }

/// What describe() tells about a field.
struct Field {
  /// One line, without the default, which is added.
  std::string_view help;
  /// Flags beside --section.key, separated by blanks: "-b --batch-size". The first long one is shown in help.
  std::string_view flags = {};
  /// Of numbers, of each element of a list, and of a Duration's amount.
  Range range = {};
  /// The only values of a string, separated by blanks; empty: any.
  std::string_view choices = {};
  /// Of a Duration that is a bare number.
  Duration::Unit unit = Duration::Unit::epochs;
  /// Word for the value in help: "N", "FILE"; empty: by type.
  std::string_view value_name = {};
  /// A further check of a string: returns "" if the text is good, else what is wrong, such as
  /// "unknown model \"resnet19\"; did you mean \"resnet18\"?".
  std::function<std::string(const std::string&)> check = {};
  /// An exact number of elements of a list; 0: any.
  size_t count = 0;
};

/// A value as a configuration file gives it, or, with `loose`, a text from a flag or an environment variable, which is
/// read as the field's type.
struct OptionValue {
  std::variant<bool, int64_t, double, std::string, std::vector<OptionValue>> value;
  bool loose = false;

  static OptionValue from_text(std::string text) { return {std::move(text), true}; }
};

namespace detail {
// read_option: "" and `out` set, or what is required ("must be a number, got ..."). option_text: as a TOML value.
#define BALLAST_OPTION_TYPE(T)                                                        \
  std::string read_option(const OptionValue& value, const Field& field, T& out);      \
  std::string option_text(const T& value);                                            \
  std::string option_type(const T* type);
BALLAST_OPTION_TYPE(bool)
BALLAST_OPTION_TYPE(int64_t)
BALLAST_OPTION_TYPE(uint64_t)
BALLAST_OPTION_TYPE(double)
BALLAST_OPTION_TYPE(std::string)
BALLAST_OPTION_TYPE(Duration)
BALLAST_OPTION_TYPE(std::vector<int64_t>)
BALLAST_OPTION_TYPE(std::vector<double>)
BALLAST_OPTION_TYPE(std::vector<std::string>)
#undef BALLAST_OPTION_TYPE
bool is_word(const OptionValue& value, std::string_view word);

template <class T>
std::string read_option(const OptionValue& value, const Field& field, Auto<T>& out) {
  if (is_word(value, "auto")) {
    out.given.reset();
    return "";
  }
  T x{};
  std::string error = read_option(value, field, x);
  if (error.empty()) {
    out.given = std::move(x);
  }
  return error;
}
template <class T>
std::string option_text(const Auto<T>& value) {
  return value.is_auto() ? "\"auto\"" : option_text(value.value());
}
template <class T>
std::string option_type(const Auto<T>*) {
  return option_type(static_cast<const T*>(nullptr)) + " or auto";
}
template <class T>
std::string read_option(const OptionValue& value, const Field& field, std::optional<T>& out) {
  const bool* flag = std::get_if<bool>(&value.value);
  if (is_word(value, "off") || (flag != nullptr && !*flag)) {
    out.reset();
    return "";
  }
  T x{};
  std::string error = read_option(value, field, x);
  if (error.empty()) {
    out = std::move(x);
  }
  return error;
}
template <class T>
std::string option_text(const std::optional<T>& value) {
  return value ? option_text(*value) : "\"off\"";
}
template <class T>
std::string option_type(const std::optional<T>*) {
  return option_type(static_cast<const T*>(nullptr)) + " or off";
}
}  // namespace detail

/// One key of a configuration. Points into the struct it describes.
struct OptionRow {
  std::string key;           ///< "optim.lr"
  std::string type;          ///< "number", "integer or auto", "text", "true or false", "duration", "list of numbers"
  std::string default_text;  ///< as a TOML value
  Field field;
  std::string origin = "default";  ///< "default", "flag", "env", "base.toml:12", "auto"
  std::function<std::string()> text;                            ///< the value now, as a TOML value
  std::function<std::string(const OptionValue&)> read;          ///< "" or what is required; sets the value

  std::string section() const { return key.substr(0, key.find('.')); }
  std::string name() const { return key.substr(key.find('.') + 1); }
  /// The value now for people: TOML without the quotes of a text.
  std::string plain() const;
  /// Flags beside --section.key: {"-b", "--batch-size"}.
  std::vector<std::string> flags() const;
  /// BALLAST_OPTIM_LR
  std::string environment() const;
  bool is_flag() const { return type == "true or false"; }
};

/// One thing wrong with a configuration.
struct OptionProblem {
  std::string place;  ///< "recipe.toml:14:3", "--lr", "BALLAST_OPTIM_LR"
  std::string text;   ///< "unknown key \"train.epoch\"; did you mean \"train.epochs\"?"
};

/// All that is wrong with a configuration; what() has a line for each, "place: text".
struct OptionError : std::invalid_argument {
  explicit OptionError(std::vector<OptionProblem> problems);
  std::vector<OptionProblem> problems;
};

/// The keys of one or more option structs, which must outlive the table.
class OptionTable {
 public:
  /// Adds every field that describe(visitor, options) visits, as "section.name".
  template <class Options>
  void add(std::string_view section, Options& options) {
    Adder adder{*this, std::string(section)};
    describe(adder, options);
  }

  std::span<OptionRow> rows() { return rows_; }
  std::span<const OptionRow> rows() const { return rows_; }
  /// Null if there is no such key.
  OptionRow* find(std::string_view key);
  const OptionRow* find(std::string_view key) const;
  std::vector<std::string> keys() const;

  /// Sets a key. Problems (unknown key with the nearest one, wrong type or value) are returned, not thrown: "" is good.
  std::string set(std::string_view key, const OptionValue& value, std::string origin);
  /// `unknown key "train.epoch"; did you mean "train.epochs"?`, looking also for the same name in another section.
  std::string unknown_key(std::string_view key) const;

  /// Complete TOML text: a section each, a line per key, with its origin as a comment.
  std::string render() const;

 private:
  struct Adder {
    OptionTable& table;
    std::string section;
    template <class T>
    void operator()(std::string_view name, T& field, Field about) {
      OptionRow row;
      row.key = section + "." + std::string(name);
      row.type = detail::option_type(static_cast<const T*>(nullptr));
      row.default_text = detail::option_text(T(field));
      row.text = [&field] { return detail::option_text(field); };
      row.read = [&field, about](const OptionValue& v) { return detail::read_option(v, about, field); };
      row.field = std::move(about);
      table.rows_.push_back(std::move(row));
    }
  };
  std::vector<OptionRow> rows_;
};

}  // namespace ballast
