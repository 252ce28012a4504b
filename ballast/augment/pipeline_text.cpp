#include <ballast/augment/pipeline_text.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>

#include <ballast/augment/catalog.h>
#include <ballast/base/check.h>
#include <ballast/base/nearest_name.h>

namespace ballast::detail {
namespace {

template <class... Parts>
[[noreturn]] void fail_at(size_t column, const Parts&... parts) {
  fail("pipeline", "column ", column, ": ", parts...);
}

template <class Names>
std::string suggestion(std::string_view name, const Names& names) {
  const std::string near = nearest_name(name, names);
  return near.empty() ? "" : ", did you mean \"" + near + "\"?";
}

struct Value {
  enum class Kind : uint8_t { number, text, truth, list } kind = Kind::number;
  double number = 0;
  std::string text;
  bool truth = false;
  std::vector<Value> list;
  size_t column = 0;
};

struct Argument {
  std::string name;  // empty: positional
  Value value;
  size_t column = 0;
};

struct RawStep {
  std::string name;
  size_t column = 0;
  std::vector<Argument> arguments;
};

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  std::vector<RawStep> pipeline() {
    std::vector<RawStep> steps;
    skip();
    if (at_ == text_.size()) return steps;
    while (true) {
      steps.push_back(step());
      skip();
      if (at_ == text_.size()) return steps;
      if (!take('|')) fail_at(column(), "expected \"|\" or the end, got \"", text_[at_], "\"");
    }
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

  RawStep step() {
    skip();
    RawStep s;
    s.column = column();
    if (!letter(peek())) fail_at(column(), "expected the name of an operation, got ", got());
    s.name = name();
    if (!take('(')) return s;
    if (take(')')) return s;
    do {
      s.arguments.push_back(argument());
      if (s.arguments.size() > 1 && s.arguments.back().name.empty() &&
          !s.arguments[s.arguments.size() - 2].name.empty()) {
        fail_at(s.arguments.back().column, "positional values must stand before named ones");
      }
    } while (take(',') || take(';'));
    if (!take(')')) fail_at(column(), "expected \",\" or \")\", got ", got());
    return s;
  }

  Argument argument() {
    skip();
    Argument a;
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

  Value value(int depth) {
    skip();
    Value v;
    v.column = column();
    if (peek() == '[') {
      if (depth > 4) fail_at(column(), "lists are nested too deep");
      ++at_;
      v.kind = Value::Kind::list;
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
      v.kind = Value::Kind::text;
      v.text = std::string(text_.substr(at_ + 1, end - at_ - 1));
      at_ = end + 1;
      return v;
    }
    if (letter(peek())) {
      v.text = name();
      v.kind = Value::Kind::text;
      if (v.text == "true" || v.text == "false") {
        v.kind = Value::Kind::truth;
        v.truth = v.text == "true";
      }
      return v;
    }
    v.number = number();
    if (text_.substr(at_, 2) == "..") {
      at_ += 2;
      Value low = v, high;
      skip();
      high.column = column();
      high.number = number();
      v.kind = Value::Kind::list;
      v.list = {low, high};
    }
    return v;
  }

  std::string_view text_;
  size_t at_ = 0;
};

// -- One description per operation, read by the binder (values in), the printer (text out) and error messages. -----

constexpr std::array<std::string_view, 5> kPaddingModes = {"constant", "edge", "reflect", "symmetric", "wrap"};
constexpr std::array<std::string_view, 3> kResizeModes = {"short", "long", "exact"};
constexpr std::array<std::string_view, 6> kInterpolations = {"nearest", "box",     "bilinear",
                                                             "hamming", "bicubic", "lanczos"};
constexpr std::array<std::string_view, 7> kInterpolationsOrRandom = {
    "nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", "random"};

/// An interpolation that may be drawn.
struct InterpolationChoice {
  Interpolation& value;
  bool& random;
};

template <class V>
void describe(V& v, HorizontalFlip& o) {
  v.probability("p", o.p);
}
template <class V>
void describe(V& v, ResizeStep& o) {
  v.size("size", o.size);
  v.count("max_size", o.max_size);
  v.choice("mode", o.mode, kResizeModes);
  v.choice("interpolation", o.interpolation, kInterpolations);
  v.truth("antialias", o.antialias);
}
template <class V>
void describe(V& v, RandomResizedCrop& o) {
  v.size("size", o.size);
  v.range("scale", o.scale);
  v.range("ratio", o.ratio);
  v.interpolation("interpolation", {o.interpolation, o.random_interpolation});
  v.truth("antialias", o.antialias);
}
template <class V>
void describe(V& v, RandomCrop& o) {
  v.size("size", o.size);
  v.padding("padding", o.padding);
  v.truth("pad_if_needed", o.pad_if_needed);
  v.choice("padding_mode", o.padding_mode, kPaddingModes);
  v.fill("fill", o.fill);
}
template <class V>
void describe(V& v, CenterCrop& o) {
  v.size("size", o.size);
}
template <class V>
void describe(V& v, NormalizeStep& o) {
  v.mean("mean", o);
  v.std("std", o);
}

/// Names of an operation's options, in order.
struct Names {
  std::vector<std::string_view> names;
  template <class... Rest>
  void add(std::string_view name, const Rest&...) {
    names.push_back(name);
  }
#define BALLAST_NAME(kind)                                   \
  template <class... Rest>                                   \
  void kind(std::string_view name, const Rest&... rest) {    \
    add(name, rest...);                                      \
  }
  BALLAST_NAME(probability)
  BALLAST_NAME(size)
  BALLAST_NAME(count)
  BALLAST_NAME(choice)
  BALLAST_NAME(truth)
  BALLAST_NAME(range)
  BALLAST_NAME(padding)
  BALLAST_NAME(fill)
  BALLAST_NAME(mean)
  BALLAST_NAME(std)
#undef BALLAST_NAME
  void interpolation(std::string_view name, InterpolationChoice) { names.push_back(name); }
};

class Binder {
 public:
  Binder(const RawStep& step, std::string_view operation, const std::vector<std::string_view>& names)
      : step_(step), operation_(operation) {
    size_t position = 0;
    for (const Argument& a : step.arguments) {
      std::string_view name = a.name;
      if (name.empty()) {
        if (position == names.size()) {
          std::string list;
          for (auto n : names) list += (list.empty() ? "" : ", ") + std::string(n);
          size_t count = 0;
          for (const Argument& b : step.arguments) count += b.name.empty() ? 1 : 0;
          fail_at(a.column, operation, " takes at most ", names.size(), " positional values (", list,
                  "), got ", count);
        }
        name = names[position++];
      } else if (std::find(names.begin(), names.end(), name) == names.end()) {
        fail_at(a.column, operation, " has no option \"", name, "\"", suggestion(name, names));
      }
      if (!values_.emplace(std::string(name), &a.value).second) {
        fail_at(a.column, operation, " got \"", name, "\" twice");
      }
    }
  }

  void probability(std::string_view name, double& out) {
    if (const Value* v = find(name)) {
      out = number(*v, name);
      require(out >= 0 && out <= 1, *v, name, "be in [0, 1]", out);
    }
  }
  void count(std::string_view name, int32_t& out) {
    if (const Value* v = find(name)) out = whole(*v, name, 1, 65'535);
  }
  void truth(std::string_view name, bool& out) {
    if (const Value* v = find(name)) {
      if (v->kind != Value::Kind::truth) wrong(*v, name, "be true or false");
      out = v->truth;
    }
  }
  template <class Enum, size_t N>
  void choice(std::string_view name, Enum& out, const std::array<std::string_view, N>& names) {
    if (const Value* v = find(name)) out = static_cast<Enum>(index(*v, name, names));
  }
  void interpolation(std::string_view name, InterpolationChoice out) {
    if (const Value* v = find(name)) {
      const size_t i = index(*v, name, kInterpolationsOrRandom);
      out.random = i == 6;
      if (!out.random) out.value = static_cast<Interpolation>(i);
    }
  }
  void size(std::string_view name, Size& out) {
    const Value* v = find(name);
    if (v == nullptr) fail_at(step_.column, operation_, " needs a size");
    const auto values = numbers(*v, name);
    if (values.size() != 1 && values.size() != 2) wrong(*v, name, "be a number or [height, width]");
    out.both = values.size() == 2;
    out.h = whole(values.front(), name, 1, 65'535);
    out.w = whole(values.back(), name, 1, 65'535);
  }
  void range(std::string_view name, std::array<double, 2>& out) {
    if (const Value* v = find(name)) {
      const auto values = numbers(*v, name);
      if (values.size() != 2) wrong(*v, name, "be a pair [low, high]");
      out = {values[0].number, values[1].number};
      if (!(out[0] > 0 && out[0] <= out[1])) {
        fail("" + std::string(operation_), name, " must be an increasing pair of numbers above 0, got [", out[0], ", ",
             out[1], "]");
      }
    }
  }
  void padding(std::string_view name, std::array<int32_t, 4>& out) {
    if (const Value* v = find(name)) {
      const auto values = numbers(*v, name);
      if (values.size() != 1 && values.size() != 2 && values.size() != 4) {
        wrong(*v, name, "be 1, 2 (x, y) or 4 (left, top, right, bottom) numbers");
      }
      for (size_t i = 0; i < 4; ++i) out[i] = whole(values[i % values.size()], name, 0, 32'767);
    }
  }
  void fill(std::string_view name, std::array<uint8_t, 3>& out) {
    if (const Value* v = find(name)) {
      const auto values = numbers(*v, name);
      if (values.size() != 1 && values.size() != 3) wrong(*v, name, "be 1 or 3 numbers");
      for (size_t i = 0; i < 3; ++i) {
        out[i] = static_cast<uint8_t>(whole(values[i % values.size()], name, 0, 255));
      }
    }
  }
  void mean(std::string_view name, NormalizeStep& out) {
    const Value* v = find(name);
    if (v == nullptr) return;
    if (v->kind == Value::Kind::text) {
      constexpr std::array<std::string_view, 3> kinds = {"dataset", "imagenet", "none"};
      out.kind = static_cast<NormalizeStep::Kind>(index(*v, name, kinds));
      return;
    }
    out.kind = NormalizeStep::Kind::given;
    for (const Value& x : numbers(*v, name)) out.values.mean.push_back(static_cast<float>(x.number));
  }
  void std(std::string_view name, NormalizeStep& out) {
    const Value* v = find(name);
    if ((v != nullptr) != (out.kind == NormalizeStep::Kind::given)) {
      fail_at(step_.column, "normalize needs mean and std, or one of imagenet, dataset, none");
    }
    if (v == nullptr) return;
    for (const Value& x : numbers(*v, name)) {
      require(x.number > 0, x, name, "be above 0", x.number);
      out.values.std.push_back(static_cast<float>(x.number));
    }
    const size_t n = out.values.mean.size();
    if (n != out.values.std.size() || (n != 1 && n != 3)) {
      fail_at(step_.column, "normalize needs 1 or 3 numbers for each of mean and std, got ", n, " and ",
              out.values.std.size());
    }
  }

 private:
  const Value* find(std::string_view name) const {
    const auto it = values_.find(std::string(name));
    return it == values_.end() ? nullptr : it->second;
  }
  [[noreturn]] void wrong(const Value& v, std::string_view name, std::string_view rule) const {
    fail_at(v.column, operation_, ": ", name, " must ", rule);
  }
  void require(bool ok, const Value& v, std::string_view name, std::string_view rule, double got) const {
    if (!ok) fail_at(v.column, operation_, ": ", name, " must ", rule, ", got ", got);
  }
  double number(const Value& v, std::string_view name) const {
    if (v.kind != Value::Kind::number) wrong(v, name, "be a number");
    return v.number;
  }
  int32_t whole(const Value& v, std::string_view name, int32_t low, int32_t high) const {
    const double x = number(v, name);
    if (!(x >= low && x <= high && x == std::floor(x))) {
      fail_at(v.column, operation_, ": ", name, " must be a whole number in [", low, ", ", high, "], got ", x);
    }
    return static_cast<int32_t>(x);
  }
  std::vector<Value> numbers(const Value& v, std::string_view name) const {
    std::vector<Value> list = v.kind == Value::Kind::list ? v.list : std::vector<Value>{v};
    for (const Value& x : list) number(x, name);
    return list;
  }
  template <size_t N>
  size_t index(const Value& v, std::string_view name, const std::array<std::string_view, N>& names) const {
    const auto it = std::find(names.begin(), names.end(), v.text);
    if (v.kind != Value::Kind::text || it == names.end()) {
      std::string list;
      for (auto n : names) list += (list.empty() ? "" : ", ") + std::string(n);
      fail_at(v.column, operation_, ": ", name, " must be one of ", list,
              v.kind == Value::Kind::text ? ", got \"" + v.text + "\"" + suggestion(v.text, names) : "");
    }
    return static_cast<size_t>(it - names.begin());
  }

  const RawStep& step_;
  std::string_view operation_;
  std::map<std::string, const Value*> values_;
};

/// Prints options that differ from the default.
class Printer {
 public:
  void probability(std::string_view name, double& x) { differ(name, x != 0.5, text(x)); }
  void count(std::string_view name, int32_t& x) { differ(name, x != 0, std::to_string(x)); }
  void truth(std::string_view name, bool& x) { differ(name, x != (name == "antialias"), x ? "true" : "false"); }
  template <class Enum, size_t N>
  void choice(std::string_view name, Enum& x, const std::array<std::string_view, N>& names) {
    const auto i = static_cast<size_t>(x);
    differ(name, i != (name == "interpolation" ? 2 : 0), std::string(names[i]));
  }
  void interpolation(std::string_view name, InterpolationChoice x) {
    differ(name, x.random || x.value != Interpolation::bilinear,
           x.random ? "random" : std::string(to_string(x.value)));
  }
  void size(std::string_view, Size& x) {
    add(x.both ? "[" + std::to_string(x.h) + ", " + std::to_string(x.w) + "]" : std::to_string(x.h));
  }
  void range(std::string_view name, std::array<double, 2>& x) {
    const RandomResizedCrop standard;
    differ(name, x != (name == "scale" ? standard.scale : standard.ratio),
           "[" + text(x[0]) + ", " + text(x[1]) + "]");
  }
  void padding(std::string_view name, std::array<int32_t, 4>& x) {
    const bool equal = x[0] == x[1] && x[0] == x[2] && x[0] == x[3];
    std::string t = std::to_string(x[0]);
    if (!equal) {
      t = "[" + t;
      for (size_t i = 1; i < (x[0] == x[2] && x[1] == x[3] ? 2 : 4); ++i) t += ", " + std::to_string(x[i]);
      t += "]";
    }
    differ(name, !equal || x[0] != 0, t);
  }
  void fill(std::string_view name, std::array<uint8_t, 3>& x) {
    const bool equal = x[0] == x[1] && x[0] == x[2];
    std::string t = std::to_string(x[0]);
    if (!equal) t = "[" + t + ", " + std::to_string(x[1]) + ", " + std::to_string(x[2]) + "]";
    differ(name, !equal || x[0] != 0, t);
  }
  void mean(std::string_view, NormalizeStep& o) {
    switch (o.kind) {
      case NormalizeStep::Kind::dataset: add("dataset"); break;
      case NormalizeStep::Kind::imagenet: add("imagenet"); break;
      case NormalizeStep::Kind::none: add("none"); break;
      case NormalizeStep::Kind::given: add(list(o.values.mean)); break;
    }
  }
  void std(std::string_view, NormalizeStep& o) {
    if (o.kind == NormalizeStep::Kind::given) add(list(o.values.std));
  }
  std::string done() const { return out_.empty() ? "" : "(" + out_ + ")"; }

 private:
  template <class T>
  static std::string text(T x) {
    char buffer[40];
    const auto result = std::to_chars(buffer, buffer + sizeof buffer, x);
    return {buffer, result.ptr};
  }
  static std::string list(const std::vector<float>& values) {
    std::string t = "[";
    for (float x : values) t += (t.size() == 1 ? "" : ", ") + text(x);
    return t + "]";
  }
  void add(const std::string& t) { out_ += (out_.empty() ? "" : ", ") + t; }
  void differ(std::string_view name, bool different, const std::string& t) {
    if (different) add(std::string(name) + "=" + t);
  }
  std::string out_;
};

std::optional<Operation> blank(uint32_t number) {
  switch (number) {
    case 1: return HorizontalFlip{};
    case 16: return ResizeStep{};
    case 17: return RandomResizedCrop{};
    case 18: return RandomCrop{};
    case 19: return CenterCrop{};
    case 60: return NormalizeStep{};
    default: return std::nullopt;
  }
}

void check_step(const Operation& operation, size_t column) {
  if (const auto* r = std::get_if<ResizeStep>(&operation)) {
    if (r->max_size != 0 && (r->size.both || r->mode != ResizeStep::Mode::shorter)) {
      fail_at(column, "resize: max_size goes with mode=short and one size");
    }
    check(r->max_size == 0 || r->max_size > r->size.h, "resize", "max_size must be larger than size, got ",
          r->max_size, " <= ", r->size.h);
  }
  if (const auto* r = std::get_if<RandomResizedCrop>(&operation)) {
    check(r->scale[1] <= 1, "random_resized_crop", "scale must be at most 1, got ", r->scale[1]);
  }
}

}  // namespace

std::vector<Step> parse_steps(std::string_view text) {
  std::vector<Step> steps;
  std::map<uint32_t, uint32_t> seen;
  bool normalized = false;
  for (const RawStep& raw : Parser(text).pipeline()) {
    const auto catalog = augment_catalog();
    const auto entry = std::find_if(catalog.begin(), catalog.end(), [&](const AugmentEntry& e) {
      return e.name == raw.name || (!e.alias.empty() && e.alias == raw.name);
    });
    if (entry == catalog.end()) {
      std::vector<std::string_view> names;
      for (const AugmentEntry& e : catalog) {
        names.push_back(e.name);
        if (!e.alias.empty()) names.push_back(e.alias);
      }
      fail_at(raw.column, "\"", raw.name, "\" is not an operation", suggestion(raw.name, names));
    }
    if (normalized) {
      fail_at(raw.column, "normalize must be the last step, got \"", raw.name, "\" behind it");
    }
    normalized = entry->name == "normalize";
    Step step;
    step.operation = *blank(entry->number);
    step.number = entry->number;
    step.occurrence = seen[entry->number]++;
    std::visit(
        [&](auto& operation) {
          Names names;
          describe(names, operation);
          Binder binder(raw, entry->name, names.names);
          describe(binder, operation);
        },
        step.operation);
    check_step(step.operation, raw.column);
    steps.push_back(std::move(step));
  }
  return steps;
}

std::string print_steps(const std::vector<Step>& steps) {
  std::string out;
  for (Step step : steps) {
    const auto catalog = augment_catalog();
    const auto entry = std::find_if(catalog.begin(), catalog.end(),
                                    [&](const AugmentEntry& e) { return e.number == step.number; });
    Printer printer;
    std::visit([&](auto& operation) { describe(printer, operation); }, step.operation);
    out += (out.empty() ? "" : " | ") + std::string(entry->name) + printer.done();
  }
  return out;
}

}  // namespace ballast::detail
