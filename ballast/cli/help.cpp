#include "help.h"

#include <ballast/report/table.h>

#include "arguments.h"

namespace ballast::cli {
namespace {

constexpr size_t kWidth = 100;

/// `text` in lines of kWidth, each behind `indent` blanks.
std::string wrapped(std::string_view text, size_t indent) {
  std::string out, line(indent, ' ');
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    if (line.size() > indent && line.size() + 1 + word.size() > kWidth) {
      out += line + "\n";
      line.assign(indent, ' ');
    }
    line += (line.size() > indent ? " " : "") + std::string(word);
    text = end == text.size() ? "" : text.substr(end + 1);
  }
  return out + line + "\n";
}

std::string paragraphs(std::string_view text, size_t indent) {
  std::string out;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    out += end == 0 ? "\n" : wrapped(text.substr(0, end), indent);
    text = end == text.size() ? "" : text.substr(end + 1);
  }
  return out;
}

std::string value_word(const OptionRow& row) {
  if (row.is_flag()) {
    return "";
  }
  if (!row.field.value_name.empty()) {
    return std::string(row.field.value_name);
  }
  if (!row.field.choices.empty()) {
    std::string choices(row.field.choices);
    for (char& c : choices) {
      c = c == ' ' ? '|' : c;
    }
    if (choices.size() <= 40) {
      return choices;
    }
    return "NAME";
  }
  return row.type.starts_with("integer")  ? "N"
      : row.type.starts_with("number")    ? "X"
      : row.type.starts_with("duration")  ? "LENGTH"
      : row.type.starts_with("list of")   ? "X,X,..."
                                          : "TEXT";
}

std::string plain_default(const OptionRow& row) {
  std::string text = row.default_text;
  if (text.size() >= 2 && text.front() == '"') {
    text = text.substr(1, text.size() - 2);
  }
  return text;
}

std::string row_help(const OptionRow& row, bool keyed) {
  std::string names;
  for (const std::string& flag : row.flags()) {
    names += (names.empty() ? "" : ", ") + flag;
  }
  if (row.is_flag() && row.default_text == "true") {
    names += ", --no-" + shown_flag(row).substr(2);
  }
  if (keyed) {
    names += (names.empty() ? "" : ", ") + ("--" + row.key);
  }
  const std::string value = value_word(row);
  std::string about(row.field.help);
  if (!row.field.choices.empty() && value == "NAME") {
    about += " (" + std::string(row.field.choices) + ")";
  }
  if (!row.field.range.unbounded() && (row.type.starts_with("integer") || row.type.starts_with("number"))) {
    about += "; " + row.field.range.text();
  }
  const std::string fallback = plain_default(row);
  if (!fallback.empty() && fallback != "[]" && !(row.is_flag() && fallback == "false")) {
    about += " [" + fallback + "]";
  }
  return "  " + names + (value.empty() ? "" : " " + value) + "\n" + wrapped(about, 10);
}

constexpr std::string_view kExitCodes =
    "  0 done   1 unexpected failure   2 wrong usage   3 data missing or corrupt   4 not finite or diverged\n"
    "  5 damage found   6 could not store   7 run folder in use   75 interrupted, saved   130 interrupted by Ctrl-C\n";

}  // namespace

std::string short_help() {
  return "ballast trains picture classifiers: stable, repeatable, fast on a CPU.\n"
         "\n"
         "  ballast train                      train on Fashion-MNIST, end with a report\n"
         "  ballast train --data photos/       train on your pictures: a folder per class\n"
         "  ballast predict RUN photo.jpg      what is on this picture?\n"
         "  ballast doctor                     is this machine fit?\n"
         "\n"
         "All commands: ballast --help. A command's flags: ballast COMMAND --help.\n";
}

std::string program_help() {
  std::string out =
      "ballast: training of deep networks that stays stable and generalizes\n"
      "\n"
      "USAGE\n"
      "  ballast COMMAND [FLAGS]\n"
      "\n"
      "COMMANDS\n";
  Table table({{"", Table::Align::left}, {"", Table::Align::left}});
  for (const CommandEntry& entry : command_catalog()) {
    const std::unique_ptr<Command> command = entry.make();
    table.row({"  " + std::string(entry.name), std::string(command->text().summary)});
  }
  out += table.text({.titles = false});
  out +=
      "\n"
      "FLAGS OF EVERY COMMAND\n"
      "  -h, --help [SECTION]   a command's flags, with examples\n"
      "  --json                 report as one JSON document on stdout\n"
      "  -q, --quiet            only errors and results\n"
      "  -v, --verbose          more about what is done\n"
      "  --color auto|never     colour on a terminal; NO_COLOR does the same\n"
      "  --version              version, LibTorch, processor (as a command: ballast version)\n"
      "\n"
      "CONFIGURATION\n"
      "  default < --config FILE (TOML) < environment (BALLAST_OPTIM_LR) < flag; see ballast config --help\n"
      "\n"
      "EXIT CODES\n";
  return out + std::string(kExitCodes);
}

std::string group_help(std::string_view first) {
  Table table({{"", Table::Align::left}, {"", Table::Align::left}});
  for (const CommandEntry& entry : command_catalog()) {
    if (entry.name.starts_with(std::string(first) + " ")) {
      table.row({"  ballast " + std::string(entry.name), std::string(entry.make()->text().summary)});
    }
  }
  return table.rows() < 2 ? "" : table.text({.titles = false}) + "\nTheir flags: ballast " + std::string(first) + " COMMAND --help\n";
}

std::string command_help(Command& command, const std::string& section) {
  const CommandText text = command.text();
  CommonFlags common_flags;
  OptionTable common;
  common.add("common", common_flags);

  std::vector<std::string> sections;
  std::string flags;
  if (!command.own().rows().empty()) {
    std::string own;
    for (const OptionRow& row : command.own().rows()) {
      own += row_help(row, false);
    }
    flags += "FLAGS\n" + own + "\n";
  }
  if (command.sections() != nullptr) {
    for (const OptionRow& row : command.sections()->rows()) {
      if (sections.empty() || sections.back() != row.section()) {
        sections.push_back(row.section());
      }
    }
    std::string one;
    for (const std::string& name : sections) {
      std::string part = "[" + name + "]\n";
      for (const OptionRow& row : command.sections()->rows()) {
        if (row.section() == name) {
          part += row_help(row, true);
        }
      }
      flags += part + "\n";
      if (name == section) {
        one = part;
      }
    }
    if (!section.empty() && !one.empty()) {
      return one;
    }
  }
  if (!section.empty()) {
    usage_error(sections.empty() ? "--help of " + std::string(text.name) + " has no sections"
                                 : "--help has no section \"" + section + "\"" + did_you_mean(section, sections));
  }

  std::string out = "ballast " + std::string(text.name) + ": " + std::string(text.summary) + "\n\nUSAGE\n  ballast " +
      std::string(text.name) + (text.operands.empty() ? "" : " " + std::string(text.operands)) + " [FLAGS]\n\n";
  if (!text.about.empty()) {
    out += "ABOUT\n" + paragraphs(text.about, 2) + "\n";
  }
  out += "EXAMPLES\n";
  for (const auto& [comment, line] : text.examples) {
    out += "  # " + std::string(comment) + "\n  " + std::string(line) + "\n";
  }
  out += "\n" + flags + "FLAGS OF EVERY COMMAND\n  -h, --help [SECTION]\n          this text" +
      std::string(sections.empty() ? "" : ", or one section of it") + "\n";
  for (const OptionRow& row : common.rows()) {
    out += row_help(row, false);
  }
  return out + "\nEXIT CODES\n" + std::string(kExitCodes);
}

}  // namespace ballast::cli
