#pragma once

// What an operation of a pipeline is: its arguments, their ranges, and how it draws; not public.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <ballast/augment/catalog.h>
#include <ballast/base/key.h>

namespace ballast::detail {

class Planner;
struct Step;

enum class ArgKind : uint8_t {
  number,   // one number
  whole,    // one whole number
  truth,    // true or false
  choice,   // one of `choices`
  numbers,  // min_count to max_count numbers
  size,     // a whole number, or [height, width]
  range,    // [low, high], or one number that `widen` makes a range
  fill,     // 1 or 3 whole numbers in [0, 255], or "mean"
  stats,    // numbers, or one of `choices`: the mean of normalize
};

/// What one number means where a range is asked for.
enum class Widen : uint8_t { none, fixed, symmetric, about_one };

struct Arg {
  std::string_view name;
  ArgKind kind = ArgKind::number;
  /// Default; empty: required, or none.
  std::vector<double> standard = {};
  double low = 0, high = 1;
  std::string_view choices = {};
  bool required = false;
  bool positional = true;
  Widen widen = Widen::none;
  size_t min_count = 1, max_count = 1;
  /// low itself is out of range.
  bool open = false;
  /// A whole range of whole numbers.
  bool integral = false;
};

/// A value as it was written.
struct Value {
  std::vector<double> numbers;
  /// A word, where one was given.
  std::string word;
  bool given = false;
  bool list = false;
};

struct Operation {
  std::string_view name, alias;
  uint32_t number = 0;
  AugmentGroup group = AugmentGroup::color;
  std::string_view summary;
  bool random = false;
  std::vector<Arg> args;
  void (*draw)(const Step&, Key, Planner&) = nullptr;
  /// Throws what is wrong with values that are right one by one.
  void (*check)(const Step&) = nullptr;
  /// Takes pipelines as arguments.
  bool combines = false;
  /// Index of the argument p, or -1.
  int p = -1;
};

struct Step {
  const Operation* op = nullptr;
  /// Which one of its kind this is: with the catalog number the index of its draws.
  uint32_t occurrence = 0;
  std::vector<Value> values;
  std::vector<std::vector<Step>> children;
  /// A timm string, as written.
  std::string text;
  size_t column = 0;

  double num(size_t i) const { return values[i].numbers.empty() ? op->args[i].standard[0] : values[i].numbers[0]; }
  int32_t whole(size_t i) const { return static_cast<int32_t>(num(i)); }
  bool truth(size_t i) const { return num(i) != 0; }
  const std::vector<double>& list(size_t i) const {
    return values[i].numbers.empty() ? op->args[i].standard : values[i].numbers;
  }
  /// [low, high], widened by the argument's rule.
  std::array<double, 2> range(size_t i) const;
  /// Height and width; `both`: two numbers were given.
  std::array<int32_t, 2> size(size_t i) const;
  bool both(size_t i) const { return values[i].numbers.size() == 2; }
  /// Uniform in the range of argument i, from `slot`.
  double uniform(size_t i, Key key, uint32_t slot, uint32_t attempt = 0) const;
};

/// All operations, by number.
const std::vector<Operation>& operations();
const Operation& operation(std::string_view name);

// Families, a file each.
void add_geometry(std::vector<Operation>& out);
void add_crops(std::vector<Operation>& out);
void add_color(std::vector<Operation>& out);
void add_erasing(std::vector<Operation>& out);
void add_combinators(std::vector<Operation>& out);
void add_policies(std::vector<Operation>& out);

// Shorthands for the tables.
Arg p_arg(double standard = 1, bool positional = false);
Arg number_arg(std::string_view name, double standard, double low, double high);
Arg whole_arg(std::string_view name, double standard, double low, double high);
Arg range_arg(std::string_view name, std::vector<double> standard, double low, double high, Widen widen);
Arg size_arg();
Arg truth_arg(std::string_view name, bool standard);
Arg choice_arg(std::string_view name, std::string_view choices, double standard = 0);
Arg fill_arg();
Arg border_arg(std::string_view name = "border");
constexpr double kInfinite = 1e300;

}  // namespace ballast::detail
