#include <ballast/augment/pipeline_text.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include <ballast/augment/policy_space.h>
#include <ballast/base/nearest_name.h>

namespace ballast::detail {

std::vector<std::string_view> words_of(std::string_view list) {
  std::vector<std::string_view> out;
  while (!list.empty()) {
    const size_t end = std::min(list.find('|'), list.size());
    out.push_back(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return out;
}

bool makes_views(const Step& step) {
  return (step.op->name == "five_crop" || step.op->name == "ten_crop") && step.whole(1) == 0;
}

namespace {

template <class Names>
std::string suggestion(std::string_view name, const Names& names) {
  const std::string near = nearest_name(name, names);
  return near.empty() ? "" : ", did you mean \"" + near + "\"?";
}

std::string joined(const std::vector<std::string_view>& names) {
  std::string out;
  for (const auto n : names) out += (out.empty() ? "" : ", ") + std::string(n);
  return out;
}

std::string number_text(double x) {
  char buffer[40];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, x);
  return {buffer, result.ptr};
}

/// Turns the arguments of a raw step into values.
class Binder {
 public:
  Binder(const RawStep& raw, Step& step) : raw_(raw), step_(step), name_(raw.name) {
    const auto& args = step.op->args;
    step.values.resize(args.size());
    std::vector<std::string_view> names, positional;
    for (const Arg& a : args) {
      names.push_back(a.name);
      if (a.positional) positional.push_back(a.name);
    }
    size_t position = 0, given = 0;
    for (const RawArgument& a : raw.arguments) given += a.name.empty() && a.steps.empty() ? 1 : 0;
    for (const RawArgument& a : raw.arguments) {
      if (!a.steps.empty()) continue;
      std::string_view name = a.name;
      if (name.empty()) {
        if (position == positional.size()) {
          fail_at(a.column, name_, positional.empty() ? " takes no positional values" : " takes at most ",
                  positional.empty() ? std::string()
                                     : std::to_string(positional.size()) + " positional values (" + joined(positional) + ")",
                  ", got ", given);
        }
        name = positional[position++];
      }
      const auto it = std::find(names.begin(), names.end(), name);
      if (it == names.end()) fail_at(a.column, name_, " has no option \"", name, "\"", suggestion(name, names));
      const auto i = static_cast<size_t>(it - names.begin());
      if (step.values[i].given) fail_at(a.column, name_, " got \"", name, "\" twice");
      bind(args[i], a.value, step.values[i]);
    }
    for (size_t i = 0; i < args.size(); ++i) {
      if (args[i].required && !step.values[i].given) {
        fail_at(raw.column, name_, " needs ", args[i].name == "size" ? "a size" : std::string(args[i].name));
      }
    }
  }

 private:
  [[noreturn]] void wrong(const RawValue& v, const Arg& arg, const std::string& rule, const std::string& got = {}) const {
    fail_at(v.column, name_, ": ", arg.name, " must ", rule, got.empty() ? "" : ", got " + got);
  }

  static std::string bounds(const Arg& arg) {
    if (arg.high >= kInfinite) return arg.open ? "above " + number_text(arg.low) : "at least " + number_text(arg.low);
    return "in " + std::string(arg.open ? "(" : "[") + number_text(arg.low) + ", " + number_text(arg.high) + "]";
  }

  double number(const RawValue& v, const Arg& arg, bool whole) const {
    if (v.kind != RawValue::Kind::number) wrong(v, arg, whole ? "be a whole number" : "be a number");
    const double x = v.number;
    const bool in = (arg.open ? x > arg.low : x >= arg.low) && x <= arg.high;
    if (!in || (whole && x != std::floor(x))) {
      wrong(v, arg, (whole ? "be a whole number " : "be ") + bounds(arg), number_text(x));
    }
    return x;
  }

  static std::vector<RawValue> parts(const RawValue& v) {
    return v.kind == RawValue::Kind::list ? v.list : std::vector<RawValue>{v};
  }

  void bind(const Arg& arg, const RawValue& v, Value& out) const {
    out.given = true;
    out.list = v.kind == RawValue::Kind::list;
    const auto fill = [&](bool whole) {
      for (const RawValue& x : parts(v)) out.numbers.push_back(number(x, arg, whole));
    };
    const auto choose = [&] {
      const auto names = words_of(arg.choices);
      const auto it = std::find(names.begin(), names.end(), v.kind == RawValue::Kind::number ? number_text(v.number) : v.word);
      if (it == names.end()) {
        fail_at(v.column, name_, ": ", arg.name, " must be one of ", joined(names),
                v.kind == RawValue::Kind::word ? ", got \"" + v.word + "\"" + suggestion(v.word, names) : "");
      }
      out.word = std::string(*it);
      return static_cast<double>(it - names.begin());
    };
    switch (arg.kind) {
      case ArgKind::number: out.numbers = {number(v, arg, false)}; break;
      case ArgKind::whole: out.numbers = {number(v, arg, true)}; break;
      case ArgKind::truth:
        if (v.kind != RawValue::Kind::truth) wrong(v, arg, "be true or false");
        out.numbers = {v.truth ? 1.0 : 0.0};
        break;
      case ArgKind::choice: out.numbers = {choose()}; break;
      case ArgKind::numbers:
        fill(arg.integral);
        if (out.numbers.size() < arg.min_count || out.numbers.size() > arg.max_count ||
            (arg.integral && arg.max_count == 4 && out.numbers.size() == 3)) {
          wrong(v, arg, arg.max_count == 4 && arg.integral ? "be 1, 2 (x, y) or 4 (left, top, right, bottom) numbers"
                        : arg.min_count == arg.max_count   ? "be " + std::to_string(arg.max_count) + " numbers"
                        : "be " + std::to_string(arg.min_count) + " to " + std::to_string(arg.max_count) + " numbers",
                std::to_string(out.numbers.size()));
        }
        break;
      case ArgKind::size:
        fill(true);
        if (out.numbers.size() > 2 || out.numbers.empty()) wrong(v, arg, "be a number or [height, width]");
        break;
      case ArgKind::range: {
        const auto list = parts(v);
        if (list.size() == 1 && out.list == false && arg.widen != Widen::none) {
          out.numbers = {number(list[0], arg, arg.integral)};
          if (arg.widen == Widen::symmetric && out.numbers[0] < 0) {
            wrong(v, arg, "be at least 0, or a pair [low, high]", number_text(out.numbers[0]));
          }
          break;
        }
        if (list.size() != 2) wrong(v, arg, "be a pair [low, high]");
        for (const RawValue& x : list) {
          if (x.kind != RawValue::Kind::number) wrong(x, arg, "be a pair [low, high] of numbers");
          out.numbers.push_back(x.number);
        }
        const double a = out.numbers[0], b = out.numbers[1];
        const bool in = (arg.open ? a > arg.low : a >= arg.low) && b <= arg.high;
        const bool whole = !arg.integral || (a == std::floor(a) && b == std::floor(b));
        if (!(a <= b && in && whole)) {
          wrong(v, arg, std::string("be an increasing pair ") + (arg.integral ? "of whole numbers " : "") + bounds(arg),
                "[" + number_text(a) + ", " + number_text(b) + "]");
        }
        break;
      }
      case ArgKind::fill:
        if (v.kind == RawValue::Kind::word) {
          if (v.word != "mean") wrong(v, arg, "be 1 or 3 numbers in [0, 255], or \"mean\"", "\"" + v.word + "\"");
          out.word = v.word;
          break;
        }
        fill(true);
        if (out.numbers.size() != 1 && out.numbers.size() != 3) wrong(v, arg, "be 1 or 3 numbers", std::to_string(out.numbers.size()));
        break;
      case ArgKind::stats:
        if (v.kind == RawValue::Kind::word) {
          choose();
          break;
        }
        fill(arg.integral);
        break;
    }
  }

  const RawStep& raw_;
  Step& step_;
  std::string_view name_;
};

void check_normalize(const Step& s) {
  const Value &mean = s.values[0], &std = s.values[1];
  if (!mean.numbers.empty() != std.given) {
    fail_at(s.column, "normalize needs mean and std, or one of imagenet, dataset, none");
  }
  const size_t n = mean.numbers.size();
  if (std.given && (n != std.numbers.size() || (n != 1 && n != 3))) {
    fail_at(s.column, "normalize needs 1 or 3 numbers for each of mean and std, got ", n, " and ", std.numbers.size());
  }
}

/// Occurrences are counted over the whole text, so that every step has draws of its own.
using Counts = std::map<uint32_t, uint32_t>;

const Operation& find_operation(const RawStep& raw) {
  const auto& all = operations();
  const auto entry = std::find_if(all.begin(), all.end(), [&](const Operation& op) {
    return raw.timm ? op.name == "timm" : op.name == raw.name || (!op.alias.empty() && op.alias == raw.name);
  });
  if (entry == all.end() || (!raw.timm && entry->name == "timm")) {
    std::vector<std::string_view> names;
    for (const Operation& op : all) {
      names.push_back(op.name);
      if (!op.alias.empty()) names.push_back(op.alias);
    }
    fail_at(raw.column, "\"", raw.name, "\" is not an operation", suggestion(raw.name, names));
  }
  return *entry;
}

std::vector<Step> bind_steps(const std::vector<RawStep>& raws, Counts& seen, bool top) {
  std::vector<Step> steps;
  size_t normalized = 0;
  bool views = false;
  for (const RawStep& raw : raws) {
    const Operation& op = find_operation(raw);
    if (normalized != 0 && op.group != AugmentGroup::erase) {
      if (op.group == AugmentGroup::color || op.group == AugmentGroup::policy) {
        fail_at(raw.column, "step ", steps.size() + 1, " \"", raw.name, "\" needs pixels in [0, 255], but step ", normalized,
                " \"normalize\" ended that range");
      }
      fail_at(raw.column, "normalize must be the last step, got \"", raw.name, "\" behind it");
    }
    if (op.name == "normalize") {
      if (!top) fail_at(raw.column, "normalize must not stand inside of another step");
      normalized = steps.size() + 1;
    }
    Step step;
    step.op = &op;
    step.column = raw.column;
    step.occurrence = seen[op.number]++;
    if (raw.timm) {
      step.text = raw.name;
      try {
        parse_timm(raw.name);
      } catch (const std::invalid_argument& e) {
        fail_at(raw.column, e.what());
      }
    } else {
      Binder(raw, step);
      for (const RawArgument& a : raw.arguments) {
        if (!a.steps.empty()) step.children.push_back(bind_steps(a.steps, seen, false));
      }
      if (op.name == "normalize") check_normalize(step);
      if (op.check != nullptr) {
        try {
          op.check(step);
        } catch (const std::invalid_argument& e) {
          fail_at(raw.column, e.what());
        }
      }
    }
    if (makes_views(step)) {
      if (!top) fail_at(raw.column, op.name, " must not stand inside of another step");
      if (views) fail_at(raw.column, "only one step may make several pictures");
      views = true;
    }
    steps.push_back(std::move(step));
  }
  return steps;
}

std::string list_text(const std::vector<double>& v, bool always, bool single_precision = false) {
  const auto text = [&](double x) {
    if (!single_precision) return number_text(x);
    char buffer[40];
    const auto r = std::to_chars(buffer, buffer + sizeof buffer, static_cast<float>(x));
    return std::string(buffer, r.ptr);
  };
  if (v.size() == 1 && !always) return text(v[0]);
  std::string out = "[";
  for (size_t i = 0; i < v.size(); ++i) out += (i == 0 ? "" : ", ") + text(v[i]);
  return out + "]";
}

std::string value_text(const Arg& arg, const Value& v, bool always_list) {
  if (!v.word.empty()) return v.word;
  if (arg.kind == ArgKind::truth) return v.numbers[0] != 0 ? "true" : "false";
  return list_text(v.numbers, always_list);
}

}  // namespace

std::vector<Step> parse_steps(std::string_view text) {
  Counts seen;
  return bind_steps(parse_raw(text), seen, true);
}

namespace {
/// Whether the text needs value i.
bool printed(const Step& step, size_t i) {
  const Value& v = step.values[i];
  const Arg& arg = step.op->args[i];
  if (!v.given) return false;
  if (arg.required || step.op->name == "normalize") return true;
  return !((v.word.empty() || arg.kind == ArgKind::choice) && v.numbers == arg.standard);
}
}  // namespace

std::string print_steps(const std::vector<Step>& steps) {
  std::string out;
  for (const Step& step : steps) {
    std::string inside;
    const auto add = [&](const std::string& t) { inside += (inside.empty() ? "" : ", ") + t; };
    const bool normalize = step.op->name == "normalize";
    const auto& args = step.op->args;
    const auto print = [&](size_t i, bool bare) {
      if (!printed(step, i)) return;
      add((bare ? "" : std::string(args[i].name) + "=") + value_text(args[i], step.values[i], normalize));
    };
    for (size_t i = 0; i < step.values.size(); ++i) {
      if (args[i].required || normalize) print(i, true);
    }
    for (const auto& child : step.children) add(print_steps(child));
    for (size_t i = 0; i < step.values.size(); ++i) {
      if (!args[i].required && !normalize) print(i, false);
    }
    out += (out.empty() ? "" : " | ") + (step.text.empty() ? std::string(step.op->name) : step.text) +
           (inside.empty() ? "" : "(" + inside + ")");
  }
  return out;
}

std::string print_toml(const std::vector<Step>& steps, std::string_view key) {
  std::string out;
  for (const Step& step : steps) {
    out += (out.empty() ? "[[" : "\n[[") + std::string(key) + "]]\nop = \"" +
           (step.text.empty() ? std::string(step.op->name) : step.text) + "\"\n";
    for (size_t i = 0; i < step.values.size(); ++i) {
      if (!printed(step, i)) continue;
      const Value& v = step.values[i];
      const std::string text = value_text(step.op->args[i], v, step.op->name == "normalize");
      out += std::string(step.op->args[i].name) + " = " + (v.word.empty() ? text : "\"" + text + "\"") + "\n";
    }
    if (step.children.empty()) continue;
    out += "pipelines = [";
    for (size_t i = 0; i < step.children.size(); ++i) out += (i == 0 ? "\"" : ", \"") + print_steps(step.children[i]) + "\"";
    out += "]\n";
  }
  return out;
}

std::string describe_arguments(const Operation& op) {
  std::string out;
  const auto add = [&](const std::string& t) { out += (out.empty() ? "" : ", ") + t; };
  for (const Arg& a : op.args) {
    if (op.combines && a.required) add(std::string(a.name));
  }
  if (op.combines) add("pipeline, pipeline, ...");
  for (const Arg& a : op.args) {
    if (op.combines && a.required) continue;
    std::string text(a.name);
    if (a.kind == ArgKind::choice) {
      const auto names = words_of(a.choices);
      const auto i = static_cast<size_t>(a.standard[0]);
      text += "=" + std::string(names[i]);
      for (size_t k = 0; k < names.size(); ++k) {
        if (k != i) text += "|" + std::string(names[k]);
      }
    } else if (a.kind == ArgKind::truth) {
      text += a.standard[0] != 0 ? "=true" : "=false";
    } else if (!a.choices.empty()) {
      text += "=" + std::string(a.choices);
    } else if (!a.standard.empty()) {
      text += "=" + list_text(a.standard, false, true);
    }
    add(text);
  }
  return out;
}

}  // namespace ballast::detail
