#pragma once

// Text of a pipeline to steps and back; not public.

#include <string>
#include <string_view>
#include <vector>

#include <ballast/augment/operation.h>

namespace ballast::detail {

/// A value of the grammar, before an operation makes sense of it.
struct RawValue {
  enum class Kind : uint8_t { number, word, truth, list } kind = Kind::number;
  double number = 0;
  std::string word;
  bool truth = false;
  std::vector<RawValue> list;
  size_t column = 0;
};

struct RawStep;
struct RawArgument {
  std::string name;  // empty: positional
  RawValue value;
  /// A pipeline, in place of the value.
  std::vector<RawStep> steps;
  size_t column = 0;
};

struct RawStep {
  std::string name;
  size_t column = 0;
  std::vector<RawArgument> arguments;
  /// A timm string, as written.
  bool timm = false;
};

/// The grammar of pipeline.h. Errors: std::invalid_argument with the column.
std::vector<RawStep> parse_raw(std::string_view text);

std::vector<Step> parse_steps(std::string_view text);
/// The words of "a|b|c".
std::vector<std::string_view> words_of(std::string_view list);
/// five_crop or ten_crop with all of its views.
bool makes_views(const Step& step);
std::string print_steps(const std::vector<Step>& steps);
/// Tables [[key]], one per step.
std::string print_toml(const std::vector<Step>& steps, std::string_view key);
/// "size, scale=[0.08, 1], ...".
std::string describe_arguments(const Operation& op);

template <class... Parts>
[[noreturn]] void fail_at(size_t column, const Parts&... parts);

}  // namespace ballast::detail

#include <ballast/base/check.h>

namespace ballast::detail {
template <class... Parts>
[[noreturn]] void fail_at(size_t column, const Parts&... parts) {
  fail("pipeline", "column ", column, ": ", parts...);
}
}  // namespace ballast::detail
