#pragma once

#include <string>

#include "command.h"

namespace ballast::cli {

/// `ballast` alone.
std::string short_help();
/// `ballast --help`: all commands.
std::string program_help();
/// `ballast ensemble --help`: the commands whose first word this is; "" if there are not several.
std::string group_help(std::string_view first);
/// `ballast COMMAND --help [section]`: everything, or one section of flags. Throws OptionError for an unknown section.
std::string command_help(Command& command, const std::string& section);

}  // namespace ballast::cli
