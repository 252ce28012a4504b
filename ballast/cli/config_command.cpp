#include <algorithm>
#include <filesystem>

#include <ballast/base/check.h>
#include <ballast/base/config_file.h>
#include <ballast/report/table.h>

#include "command.h"
#include "run_config.h"

namespace ballast::cli {
namespace {

using nlohmann::ordered_json;

/// A row's value as JSON: TOML's numbers, texts and lists of this program are JSON as well.
ordered_json json_value(const std::string& toml) {
  ordered_json value = ordered_json::parse(toml, nullptr, false);
  return value.is_discarded() ? ordered_json(toml) : value;
}

class ConfigCommand : public Command {
 public:
  ConfigCommand() : table_(option_table(options_)) { own_.add("config", flags_); }

  CommandText text() const override {
    return {
        .name = "config",
        .summary = "configurations: show, explain, describe, compare",
        .operands = "render | explain KEY... | schema | diff A B",
        .about =
            "render   the whole configuration that `ballast train` would take with the same flags, each value with its origin\n"
            "explain  what a key is: meaning, type, range, default, flags, variable, and its value and origin now\n"
            "schema   all keys\n"
            "diff     the keys in which two configurations differ: TOML files or run folders",
        .examples =
            {
                {"what a recipe with one flag amounts to", "ballast config render --config recipe.toml --lr 0.05"},
                {"what a key means", "ballast config explain optim.lr"},
                {"all keys as JSON", "ballast config schema --json"},
                {"in what two runs differ", "ballast config diff runs/a runs/b"},
            },
    };
  }
  OptionTable* sections() override { return &table_; }
  std::string foreign(std::string_view flag) const override { return foreign_flag(flag); }
  std::pair<size_t, size_t> operands() const override { return {1, 100}; }

  int run(const Session& session, const Arguments& arguments) override {
    const std::string what = arguments.operands[0];
    const std::vector<std::string> rest(arguments.operands.begin() + 1, arguments.operands.end());
    const auto count = [&](size_t least, size_t most, const char* usage) {
      if (rest.size() < least || rest.size() > most) {
        usage_error(std::string("usage: ballast config ") + usage);
      }
    };
    if (what == "render") {
      count(0, 0, "render [--config FILE] [FLAGS of train]");
      load_run_options(options_, table_, flags_, arguments);
      return render(session);
    }
    if (what == "explain") {
      count(1, 100, "explain KEY...");
      load_run_options(options_, table_, flags_, arguments);
      return explain(session, rest);
    }
    if (what == "schema") {
      count(0, 0, "schema");
      return schema(session);
    }
    if (what == "diff") {
      count(2, 2, "diff A B");
      return diff(session, rest[0], rest[1]);
    }
    usage_error("unknown command \"config " + what + "\"" +
                did_you_mean(what, std::vector<std::string>{"render", "explain", "schema", "diff"}));
  }

 private:
  int render(const Session& session) {
    session.print(table_.render());
    ordered_json out = ordered_json::object();
    for (const OptionRow& row : table_.rows()) {
      out[row.key] = {{"value", json_value(row.text())}, {"origin", row.origin}};
    }
    session.document(out);
    return kDone;
  }

  static ordered_json about(const OptionRow& row) {
    ordered_json flags = row.flags();
    flags.push_back("--" + row.key);
    ordered_json out = {{"key", row.key}, {"type", row.type}, {"default", json_value(row.default_text)},
                        {"help", std::string(row.field.help)}, {"flags", flags}, {"variable", row.environment()}};
    if (!row.field.range.unbounded()) {
      out["range"] = row.field.range.text();
    }
    if (!row.field.choices.empty()) {
      out["choices"] = ordered_json::array();
      std::string_view rest = row.field.choices;
      while (!rest.empty()) {
        const size_t end = std::min(rest.find(' '), rest.size());
        out["choices"].push_back(std::string(rest.substr(0, end)));
        rest = end == rest.size() ? "" : rest.substr(end + 1);
      }
    }
    return out;
  }

  int explain(const Session& session, const std::vector<std::string>& keys) {
    ordered_json all = ordered_json::array();
    std::vector<OptionProblem> problems;
    for (const std::string& key : keys) {
      const OptionRow* row = table_.find(key);
      if (row == nullptr) {
        problems.push_back({"", table_.unknown_key(key)});
        continue;
      }
      ordered_json one = about(*row);
      one["value"] = json_value(row->text());
      one["origin"] = row->origin;
      all.push_back(one);
      std::string flags = "--" + row->key;
      for (const std::string& flag : row->flags()) {
        flags = flag + ", " + flags;
      }
      std::string text = row->key + ": " + std::string(row->field.help) + "\n  type      " + row->type;
      text += row->field.range.unbounded() ? "" : " " + row->field.range.text();
      text += row->field.choices.empty() ? "" : ": " + std::string(row->field.choices);
      text += "\n  default   " + row->default_text + "\n  flags     " + flags + "\n  variable  " + row->environment() +
          "\n  now       " + row->text() + "  # " + row->origin + "\n";
      session.print(text);
    }
    if (!problems.empty()) {
      throw OptionError(problems);
    }
    session.document(all);
    return kDone;
  }

  int schema(const Session& session) {
    ordered_json all = ordered_json::array();
    Table table({{"key", Table::Align::left}, {"type", Table::Align::left}, {"default", Table::Align::left},
                 {"meaning", Table::Align::left}});
    for (const OptionRow& row : table_.rows()) {
      all.push_back(about(row));
      table.row({row.key, row.type, row.default_text, std::string(row.field.help)});
    }
    session.print(table.text());
    session.document(all);
    return kDone;
  }

  int diff(const Session& session, const std::string& a, const std::string& b) {
    RunOptions left, right;
    OptionTable left_table = option_table(left), right_table = option_table(right);
    load_file(left_table, a);
    load_file(right_table, b);
    ordered_json all = ordered_json::array();
    Table table({{"key", Table::Align::left}, {a, Table::Align::left}, {b, Table::Align::left}});
    for (size_t i = 0; i < left_table.rows().size(); ++i) {
      const OptionRow& l = left_table.rows()[i];
      const OptionRow& r = right_table.rows()[i];
      if (l.text() != r.text()) {
        table.row({l.key, l.text(), r.text()});
        all.push_back({{"key", l.key}, {"a", json_value(l.text())}, {"b", json_value(r.text())}});
      }
    }
    session.print(table.rows() == 0 ? "no difference\n" : table.text());
    session.document(all);
    return kDone;
  }

  static void load_file(OptionTable& table, const std::string& path) {
    std::error_code error;
    const bool folder = std::filesystem::is_directory(path, error);
    const std::string file = folder ? (std::filesystem::path(path) / "config.toml").string() : path;
    if (std::vector<OptionProblem> problems = apply_toml(table, read_config_file(file), file); !problems.empty()) {
      throw OptionError(problems);
    }
  }

  RunOptions options_;
  OptionTable table_;
  ConfigFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_config_command() { return std::make_unique<ConfigCommand>(); }

}  // namespace ballast::cli
