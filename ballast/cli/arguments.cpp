#include "arguments.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <deque>
#include <map>

namespace ballast::cli {
namespace {

/// One row as CLI11 sees it: its names, and where its value goes.
struct Binding {
  const OptionRow* row;
  std::vector<std::string> names;  ///< "--lr", "-b", "--optim.lr"
};

std::vector<Binding> bindings(const OptionTable& table, bool keys_are_flags) {
  std::vector<Binding> out;
  for (const OptionRow& row : table.rows()) {
    Binding b{&row, row.flags()};
    if (keys_are_flags) {
      b.names.push_back("--" + row.key);
    }
    out.push_back(std::move(b));
  }
  return out;
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) {
    out += (out.empty() ? "" : ",") + name;
  }
  return out;
}

/// What a flag means that is given without a value: one whose value is shown as [100st] means 100st. "": it needs one.
std::string implicit_value(const OptionRow& row) {
  const std::string_view shown = row.field.value_name;
  return shown.starts_with('[') && shown.ends_with(']') ? std::string(shown.substr(1, shown.size() - 2)) : "";
}

/// Without the key, which people who type a flag do not know: "--lr must be ...".
std::string flag_problem(const std::string& flag, const std::string& key, const std::string& error) {
  const std::string prefix = key + " ";
  return flag + " " + (error.starts_with(prefix) ? error.substr(prefix.size()) : error);
}

class Line {
 public:
  explicit Line(Command& command) : command_(command) {
    common_table_.add("common", parsed.common);
    app_.set_help_flag();
    app_.allow_extras();
    app_.name("");
    for (const Binding& b : bindings(common_table_, false)) {
      add(b, common_table_, true);
    }
    for (const Binding& b : bindings(command.own(), false)) {
      add(b, command.own(), true);
    }
    if (command.sections() != nullptr) {
      for (const Binding& b : bindings(*command.sections(), true)) {
        add(b, *command.sections(), false);
      }
    }
    app_.add_option("-h,--help", [this](const std::vector<std::string>& values) {
      parsed.help = values.empty() ? "" : values[0];
      return true;
    })->expected(0, 1);
  }

  void read(std::vector<std::string> words) {
    const auto dashes = std::find(words.begin(), words.end(), "--");
    if (dashes != words.end()) {
      tail_.assign(dashes + 1, words.end());
      words.erase(dashes, words.end());
    }
    // CLI11 gives the last value of several to a flag; a missing one is best said in our words.
    if (!words.empty()) {
      const std::string& last = words.back();
      if (const Binding* b = find(last); b != nullptr && !b->row->is_flag() && implicit_value(*b->row).empty()) {
        problems_.push_back({"", last + " needs a value: " + b->row->type});
        words.pop_back();
      }
    }
    std::reverse(words.begin(), words.end());
    try {
      app_.parse(words);
    } catch (const CLI::ParseError& error) {
      problems_.push_back({"", error.what()});
    }
    for (const auto& apply : switches_) {
      apply();
    }
    for (const std::string& word : app_.remaining()) {
      if (word.size() > 1 && word[0] == '-') {
        unknown(word);
      } else {
        parsed.arguments.operands.push_back(word);
      }
    }
    parsed.arguments.operands.insert(parsed.arguments.operands.end(), tail_.begin(), tail_.end());
    // The value of an unknown flag looks like an operand.
    if (!parsed.help && !unknown_) {
      check_operands();
    }
    if (!problems_.empty() && !parsed.help) {
      throw OptionError(problems_);
    }
  }

  ParsedLine parsed;

 private:
  const Binding* find(const std::string& name) const {
    for (const Binding& b : all_) {
      if (std::find(b.names.begin(), b.names.end(), name) != b.names.end()) {
        return &b;
      }
    }
    return nullptr;
  }

  void add(const Binding& b, OptionTable& table, bool apply) {
    all_.push_back(b);
    const OptionRow* row = b.row;
    const std::string flag = shown_flag(*row);
    const auto take = [this, row, &table, apply, flag](std::vector<std::string> given) {
      const bool list = row->type.starts_with("list");
      const std::string implicit = implicit_value(*row);
      if (!implicit.empty() && (given.empty() || given[0].empty() || given[0] == "{}")) {
        given = {implicit};
      }
      for (const std::string& value : given) {
        if (!apply) {
          parsed.arguments.flags.push_back({flag, row->key, value});
          // Set here only to report all problems together; the layers below it come first.
          if (const std::string error = table.set(row->key, OptionValue::from_text(value), "flag"); !error.empty()) {
            problems_.push_back({"", flag_problem(flag, row->key, error)});
          }
          continue;
        }
        // A repeated list flag adds up: --config a --config b.
        std::string whole = value;
        if (list) {
          std::string& sofar = lists_[row->key];
          sofar += (sofar.empty() ? "" : ",") + value;
          whole = sofar;
        }
        if (const std::string error = table.set(row->key, OptionValue::from_text(whole), "flag"); !error.empty()) {
          problems_.push_back({"", flag_problem(flag, row->key, error)});
        }
      }
      return true;
    };
    if (row->is_flag()) {
      std::vector<std::string> names = b.names;
      if (row->default_text == "true") {
        for (const std::string& name : b.names) {
          if (name.starts_with("--")) {
            names.push_back("!--no-" + name.substr(2));
          }
        }
      }
      std::string& text = switch_texts_.emplace_back();
      CLI::Option* option = app_.add_flag(joined(names), text);
      option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
      switches_.emplace_back([option, &text, take] {
        if (option->count() > 0) {
          take({text});
        }
      });
    } else {
      CLI::Option* option = app_.add_option(joined(b.names), take);
      const bool repeats = apply && row->type.starts_with("list");
      option->expected(implicit_value(*row).empty() ? 1 : 0, 1)
          ->multi_option_policy(repeats ? CLI::MultiOptionPolicy::TakeAll : CLI::MultiOptionPolicy::TakeLast);
    }
  }
  void unknown(const std::string& word) {
    unknown_ = true;
    const std::string flag = word.substr(0, word.find('='));
    std::string remedy = command_.foreign(flag);
    if (!remedy.empty()) {
      problems_.push_back({"", flag + " is not used here: " + remedy});
      return;
    }
    problems_.push_back({"", "unknown flag " + flag + " of " + std::string(command_.text().name) +
                                 did_you_mean(flag, all_flags(command_))});
  }

  void check_operands() {
    const auto [least, most] = command_.operands();
    const CommandText text = command_.text();
    const auto& operands = parsed.arguments.operands;
    if (operands.size() < least) {
      problems_.push_back({"", std::string(text.name) + " needs " + std::string(text.operands) + ": see ballast " +
                                   std::string(text.name) + " --help"});
    } else if (operands.size() > most) {
      problems_.push_back({"", std::string(text.name) + ": unexpected \"" + operands[most] + "\"" +
                                   (most == 0 ? "; it takes flags only" : "")});
    }
  }

  Command& command_;
  OptionTable common_table_;
  CLI::App app_;
  std::deque<std::string> switch_texts_;
  std::vector<std::function<void()>> switches_;
  std::vector<Binding> all_;
  std::vector<std::string> tail_;
  std::vector<OptionProblem> problems_;
  bool unknown_ = false;
  std::map<std::string, std::string> lists_;
};

}  // namespace

std::string shown_flag(const OptionRow& row) {
  for (const std::string& flag : row.flags()) {
    if (flag.starts_with("--")) {
      return flag;
    }
  }
  return "--" + row.key;
}

std::vector<std::string> all_flags(Command& command) {
  std::vector<std::string> out = {"--help", "-h"};
  const auto add = [&out](const OptionTable& table, bool keys_are_flags) {
    for (const Binding& b : bindings(table, keys_are_flags)) {
      out.insert(out.end(), b.names.begin(), b.names.end());
      if (b.row->is_flag() && b.row->default_text == "true") {
        out.push_back("--no-" + shown_flag(*b.row).substr(2));
      }
    }
  };
  add(command.own(), false);
  if (command.sections() != nullptr) {
    add(*command.sections(), true);
  }
  CommonFlags common;
  OptionTable table;
  table.add("common", common);
  add(table, false);
  return out;
}

ParsedLine parse_line(Command& command, const std::vector<std::string>& words) {
  Line line(command);
  line.read(words);
  return std::move(line.parsed);
}

std::vector<std::string> comma_list(const std::string& text) {
  std::vector<std::string> out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    out.push_back(text.substr(begin, comma - begin));
    begin = comma + 1;
  }
  return out;
}

}  // namespace ballast::cli
