#pragma once

#include <optional>
#include <string>
#include <vector>

#include "command.h"

namespace ballast::cli {

/// Flags that every command has.
struct CommonFlags {
  bool json = false;
  bool quiet = false;
  bool verbose = false;
  std::string color = "auto";
};
template <class Visitor>
void describe(Visitor& visit, CommonFlags& o) {
  visit("json", o.json, {.help = "report as one JSON document on stdout", .flags = "--json"});
  visit("quiet", o.quiet, {.help = "only errors and results", .flags = "-q --quiet"});
  visit("verbose", o.verbose, {.help = "more about what is done; whole error messages", .flags = "-v --verbose"});
  visit("color", o.color, {.help = "colour on a terminal", .flags = "--color", .choices = "auto never"});
}

struct ParsedLine {
  Arguments arguments;
  CommonFlags common;
  /// --help was given, with a section or "".
  std::optional<std::string> help;
};

/// Reads what stands behind a command's name: applies own flags to command.own(), leaves those of its sections to the
/// command. All that is wrong is reported together: throws OptionError.
ParsedLine parse_line(Command& command, const std::vector<std::string>& words);

/// The parts of "a,b,c".
std::vector<std::string> comma_list(const std::string& text);

/// All flags of a command as people type them, "--no-..." included: for suggestions, completion and tests of help.
std::vector<std::string> all_flags(Command& command);

/// The flag shown for a row: its first long one, else --section.key.
std::string shown_flag(const OptionRow& row);

}  // namespace ballast::cli
