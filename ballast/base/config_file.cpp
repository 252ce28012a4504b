#include <ballast/base/config_file.h>

#include <algorithm>
#include <type_traits>
#include <variant>

#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

namespace ballast {
namespace {

/// Nothing for a date or a table, which no key takes.
std::optional<OptionValue> option_value(const toml::node& node) {
  if (const auto* v = node.as_boolean()) {
    return OptionValue{v->get()};
  }
  if (const auto* v = node.as_integer()) {
    return OptionValue{v->get()};
  }
  if (const auto* v = node.as_floating_point()) {
    return OptionValue{v->get()};
  }
  if (const auto* v = node.as_string()) {
    return OptionValue{v->get()};
  }
  if (const auto* v = node.as_array()) {
    std::vector<OptionValue> list;
    for (const toml::node& element : *v) {
      std::optional<OptionValue> x = option_value(element);
      if (!x) {
        return std::nullopt;
      }
      list.push_back(std::move(*x));
    }
    return OptionValue{std::move(list)};
  }
  return std::nullopt;
}

/// A table with `op` as a step of a pipeline: op = "rotate", degrees = 15 is rotate(degrees=15). `pipelines` are texts of their own.
/// "" and `out` set, or what is wrong.
std::string step_text(const toml::table& table, std::string& out) {
  const toml::node* op = table.get("op");
  if (op == nullptr || !op->is_string()) return "needs op = \"NAME\"";
  std::string inside;
  const auto add = [&](const std::string& text) { inside += (inside.empty() ? "" : ", ") + text; };
  if (const toml::node* pipelines = table.get("pipelines")) {
    if (!pipelines->is_array()) return "pipelines must be a list of texts";
    for (const toml::node& p : *pipelines->as_array()) {
      if (!p.is_string()) return "pipelines must be a list of texts";
      add(p.as_string()->get());
    }
  }
  for (const auto& [name, node] : table) {
    if (name.str() == "op" || name.str() == "pipelines") continue;
    const std::optional<OptionValue> value = option_value(node);
    if (!value) return std::string(name.str()) + " must be a number, a text, true, false or a list of them";
    std::string text = std::visit([](const auto& v) {
      if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::vector<OptionValue>>) {
        std::string list;
        for (const OptionValue& x : v) {
          list += list.empty() ? "[" : ", ";
          if (const auto* i = std::get_if<int64_t>(&x.value)) list += detail::option_text(*i);
          if (const auto* d = std::get_if<double>(&x.value)) list += detail::option_text(*d);
          if (const auto* s = std::get_if<std::string>(&x.value)) list += detail::option_text(*s);
        }
        return list.empty() ? std::string("[]") : list + "]";
      } else {
        return detail::option_text(v);
      }
    }, value->value);
    add(std::string(name.str()) + "=" + text);
  }
  out += (out.empty() ? "" : " | ") + op->as_string()->get() + (inside.empty() ? "" : "(" + inside + ")");
  return "";
}

class TomlLayer {
 public:
  TomlLayer(OptionTable& table, const std::string& path) : table_(table), path_(path) {
    for (const OptionRow& row : table.rows()) {
      if (sections_.empty() || sections_.back() != row.section()) {
        sections_.push_back(row.section());
      }
    }
  }

  void apply(const toml::table& root) {
    for (const auto& [name, node] : root) {
      const std::string section(name.str());
      const toml::table* table = node.as_table();
      if (std::find(sections_.begin(), sections_.end(), section) == sections_.end()) {
        const std::string near = table_.unknown_key(section);
        complain(name.source(), table != nullptr ? "unknown section \"" + section + "\"" + did_you_mean(section, sections_)
                                                 : near);
      } else if (table == nullptr) {
        complain(name.source(), "\"" + section + "\" is a section: write [" + section + "] and its keys below");
      } else {
        walk(*table, section);
      }
    }
  }

  void complain(const toml::source_region& at, std::string text) {
    problems.push_back({path_ + ":" + std::to_string(at.begin.line) + ":" + std::to_string(at.begin.column), std::move(text)});
    lines_.push_back({at.begin.line, at.begin.column});
  }
  /// toml++ keeps keys sorted by name; people read from the top.
  void sort() {
    std::vector<size_t> order(problems.size());
    for (size_t i = 0; i < order.size(); ++i) {
      order[i] = i;
    }
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return lines_[a] < lines_[b]; });
    std::vector<OptionProblem> sorted;
    for (const size_t i : order) {
      sorted.push_back(std::move(problems[i]));
    }
    problems = std::move(sorted);
  }

  std::vector<OptionProblem> problems;

 private:
  void walk(const toml::table& table, const std::string& prefix) {
    for (const auto& [name, node] : table) {
      const std::string key = prefix + "." + std::string(name.str());
      const bool group = std::any_of(table_.rows().begin(), table_.rows().end(),
                                     [&](const OptionRow& row) { return row.key.starts_with(key + "."); });
      if (table_.find(key) == nullptr) {
        if (group && node.is_table()) {
          walk(*node.as_table(), key);
        } else {
          complain(name.source(), table_.unknown_key(key));
        }
        continue;
      }
      if (node.is_array_of_tables()) {
        steps(*node.as_array(), key);
        continue;
      }
      const std::optional<OptionValue> value = option_value(node);
      const std::string origin = path_ + ":" + std::to_string(node.source().begin.line);
      const std::string error = value ? table_.set(key, *value, origin)
                                      : key + " must be " + table_.find(key)->type + ", got a date, time or table";
      if (!error.empty()) {
        complain(node.source(), error);
      }
    }
  }

  /// A pipeline as one table per step. Set step by step, so that a mistake is found at its table.
  void steps(const toml::array& tables, const std::string& key) {
    std::string text;
    for (const toml::node& node : tables) {
      std::string error = step_text(*node.as_table(), text);
      if (error.empty()) {
        error = table_.set(key, OptionValue{text}, path_ + ":" + std::to_string(tables.source().begin.line));
        if (error.starts_with(key + " ")) error = error.substr(key.size() + 1);
      }
      if (!error.empty()) return complain(node.source(), "[[" + key + "]] " + error);
    }
  }

  OptionTable& table_;
  const std::string& path_;
  std::vector<std::string> sections_;
  std::vector<std::pair<uint32_t, uint32_t>> lines_;
};

}  // namespace

std::vector<OptionProblem> apply_toml(OptionTable& table, std::string_view text, const std::string& path) {
  TomlLayer layer(table, path);
  try {
    layer.apply(toml::parse(text, path));
  } catch (const toml::parse_error& error) {
    layer.complain(error.source(), std::string(error.description()));
  }
  layer.sort();
  return layer.problems;
}

std::vector<OptionProblem> apply_environment(OptionTable& table, std::span<const std::string> variables) {
  std::vector<OptionProblem> problems;
  std::vector<std::string> names;
  for (const OptionRow& row : table.rows()) {
    names.push_back(row.environment());
  }
  std::vector<std::string> sorted(variables.begin(), variables.end());
  std::sort(sorted.begin(), sorted.end());
  for (const std::string& variable : sorted) {
    const size_t equals = variable.find('=');
    if (!variable.starts_with("BALLAST_") || equals == std::string::npos) {
      continue;
    }
    const std::string name = variable.substr(0, equals);
    const auto it = std::find(names.begin(), names.end(), name);
    if (it != names.end()) {
      const OptionRow& row = table.rows()[static_cast<size_t>(it - names.begin())];
      const std::string error = table.set(row.key, OptionValue::from_text(variable.substr(equals + 1)), "env");
      if (!error.empty()) {
        problems.push_back({name, error});
      }
      continue;
    }
    const bool ours = std::any_of(table.rows().begin(), table.rows().end(), [&](const OptionRow& row) {
      const std::string key = row.environment();
      return name.starts_with(key.substr(0, std::string_view("BALLAST_").size() + row.section().size() + 1));
    });
    if (ours) {
      problems.push_back({name, "unknown variable" + did_you_mean(name, names)});
    }
  }
  return problems;
}

}  // namespace ballast
