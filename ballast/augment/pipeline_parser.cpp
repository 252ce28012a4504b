#include <algorithm>
#include <charconv>
#include <cmath>

#include <ballast/augment/pipeline_text.h>
#include <ballast/augment/policy_space.h>

namespace ballast::detail {
namespace {

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  std::vector<RawStep> whole() {
    skip();
    if (at_ == text_.size()) return {};
    auto steps = pipeline(0);
    if (at_ != text_.size()) fail_at(column(), "expected \"|\" or the end, got \"", text_[at_], "\"");
    return steps;
  }

 private:
  size_t column() const { return at_ + 1; }
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n')) ++at_;
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    skip();
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  std::string got() const {
    return at_ < text_.size() ? "\"" + std::string(1, text_[at_]) + "\"" : std::string("the end");
  }
  static bool letter(char c) { return c >= 'a' && c <= 'z'; }
  static bool digit(char c) { return c >= '0' && c <= '9'; }

  std::string name() {
    const size_t begin = at_;
    while (letter(peek()) || digit(peek()) || peek() == '_') ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }

  /// steps up to something that is no "|".
  std::vector<RawStep> pipeline(int depth) {
    if (depth > 8) fail_at(column(), "pipelines are nested too deep");
    std::vector<RawStep> steps;
    do steps.push_back(step(depth));
    while (take('|'));
    skip();
    return steps;
  }

  RawStep step(int depth) {
    skip();
    RawStep s;
    s.column = column();
    if (begins_timm(text_.substr(at_))) {
      const size_t begin = at_;
      while (letter(peek()) || digit(peek()) || peek() == '_' || peek() == '-' || peek() == '.') ++at_;
      s.name = std::string(text_.substr(begin, at_ - begin));
      s.timm = true;
      return s;
    }
    if (!letter(peek())) fail_at(column(), "expected the name of an operation, got ", got());
    s.name = name();
    if (!take('(')) return s;
    if (take(')')) return s;
    const auto& all = operations();
    const bool pipelines =
        std::any_of(all.begin(), all.end(), [&](const Operation& op) { return op.name == s.name && op.combines; });
    do {
      s.arguments.push_back(argument(pipelines, depth));
      const RawArgument& last = s.arguments.back();
      if (s.arguments.size() > 1 && last.name.empty() && !s.arguments[s.arguments.size() - 2].name.empty()) {
        fail_at(last.column, "positional values must stand before named ones");
      }
    } while (take(',') || take(';'));
    if (!take(')')) fail_at(column(), "expected \",\" or \")\", got ", got());
    return s;
  }

  RawArgument argument(bool pipelines, int depth) {
    skip();
    RawArgument a;
    a.column = column();
    const size_t begin = at_;
    if (letter(peek())) {
      a.name = name();
      if (take('=')) {
        a.value = value(0);
        return a;
      }
      a.name.clear();
      at_ = begin;
    }
    if (pipelines && (letter(peek()) || begins_timm(text_.substr(at_)))) {
      a.steps = pipeline(depth + 1);
      return a;
    }
    a.value = value(0);
    return a;
  }

  double number() {
    const char* first = text_.data() + at_;
    double x = 0;
    // "0.1..2": the dots of a range are not a fraction.
    size_t end = at_;
    while (end < text_.size() && (digit(text_[end]) || text_[end] == '.' || text_[end] == '-' ||
                                  text_[end] == '+' || text_[end] == 'e')) {
      if (text_.substr(end, 2) == "..") break;
      ++end;
    }
    const auto result = std::from_chars(first, text_.data() + end, x);
    if (result.ec != std::errc() || !std::isfinite(x)) fail_at(column(), "expected a value, got ", got());
    at_ += static_cast<size_t>(result.ptr - first);
    if (peek() == '%') {
      ++at_;
      x /= 100;
    }
    return x;
  }

  RawValue value(int depth) {
    skip();
    RawValue v;
    v.column = column();
    if (peek() == '[') {
      if (depth > 4) fail_at(column(), "lists are nested too deep");
      ++at_;
      v.kind = RawValue::Kind::list;
      if (take(']')) return v;
      do v.list.push_back(value(depth + 1));
      while (take(','));
      if (!take(']')) fail_at(column(), "expected \",\" or \"]\", got ", got());
      return v;
    }
    if (peek() == '"' || peek() == '\'') {
      const char quote = peek();
      const size_t end = text_.find(quote, at_ + 1);
      if (end == std::string_view::npos) fail_at(column(), "the string has no end");
      v.kind = RawValue::Kind::word;
      v.word = std::string(text_.substr(at_ + 1, end - at_ - 1));
      at_ = end + 1;
      return v;
    }
    if (letter(peek())) {
      v.word = name();
      v.kind = RawValue::Kind::word;
      if (v.word == "true" || v.word == "false") {
        v.kind = RawValue::Kind::truth;
        v.truth = v.word == "true";
      }
      return v;
    }
    v.number = number();
    if (text_.substr(at_, 2) == "..") {
      at_ += 2;
      RawValue low = v, high;
      skip();
      high.column = column();
      high.number = number();
      v.kind = RawValue::Kind::list;
      v.list = {low, high};
    }
    return v;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

std::vector<RawStep> parse_raw(std::string_view text) { return Parser(text).whole(); }

}  // namespace ballast::detail
