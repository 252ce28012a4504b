#pragma once

#include <string>

#include "command.h"

namespace ballast::cli {

/// `ballast` alone.
std::string short_help();
/// `ballast --help`: all commands.
std::string program_help();
/// `ballast COMMAND --help [section]`: everything, or one section of flags. Throws OptionError for an unknown section.
std::string command_help(Command& command, const std::string& section);

}  // namespace ballast::cli
