#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "arguments.h"
#include "command.h"
#include "help.h"
#include "session.h"
#include "signals.h"

namespace ballast::cli {
namespace {

bool wants_color(const std::string& choice, int fd) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return choice == "auto" && isatty(fd) == 1 && (no_color == nullptr || *no_color == '\0') && term != nullptr &&
      std::strcmp(term, "dumb") != 0;
}

/// The command named by the first one or two words; those are removed.
std::unique_ptr<Command> take_command(std::vector<std::string>& words) {
  const std::string first = words[0];
  std::vector<std::string> names, seconds;
  const CommandEntry* only = nullptr;
  for (const CommandEntry& entry : command_catalog()) {
    const size_t blank = entry.name.find(' ');
    if (blank == std::string_view::npos) {
      if (entry.name == first) {
        words.erase(words.begin());
        return entry.make();
      }
      names.emplace_back(entry.name);
      continue;
    }
    const std::string group(entry.name.substr(0, blank));
    if (std::find(names.begin(), names.end(), group) == names.end()) names.push_back(group);
    if (first != group) {
      continue;
    }
    const std::string second(entry.name.substr(blank + 1));
    if (words.size() > 1 && words[1] == second) {
      words.erase(words.begin(), words.begin() + 2);
      return entry.make();
    }
    seconds.push_back(second);
    only = &entry;
  }
  if (!seconds.empty()) {
    const bool help = words.size() > 1 && (words[1] == "--help" || words[1] == "-h");
    if (help && seconds.size() == 1) {
      words.erase(words.begin());
      return only->make();
    }
    std::string all;
    for (const std::string& second : seconds) all += (all.empty() ? "" : ", ") + second;
    std::vector<std::string> whole;
    for (const std::string& second : seconds) whole.push_back(first + " " + second);
    const std::string near = words.size() < 2 ? "" : did_you_mean(first + " " + words[1], whole);
    usage_error(words.size() < 2 || help ? first + " needs a command: " + all + " (ballast " + first + " " + seconds[0] + " --help)"
                                         : "unknown command \"" + first + " " + words[1] + "\"" +
                        (!near.empty()         ? near
                             : seconds.size() == 1 ? "; did you mean \"" + first + " " + seconds[0] + "\"?"
                                             : "; " + first + " has " + all));
  }
  if (first.starts_with("-")) {
    usage_error("unknown flag " + first + did_you_mean(first, std::vector<std::string>{"--help", "--version"}) +
                (first.starts_with("--v") || first.starts_with("--h") ? "" : "; a command comes first: ballast train " + first));
  }
  // What people type first: a picture or a folder.
  std::error_code error;
  const std::string near = did_you_mean(first, names);
  if (near.empty() && std::filesystem::is_directory(first, error)) {
    usage_error("unknown command \"" + first + "\"; did you mean: ballast train --data " + first + "?");
  }
  usage_error("unknown command \"" + first + "\"" + (near.empty() ? "; ballast --help names all" : near));
}

int run(const std::vector<std::string>& given) {
  Session session;
  session.signals = install_signal_handlers();
  std::vector<std::string> words = given;
  for (const std::string& word : words) {
    session.json = session.json || word == "--json";
    session.verbose = session.verbose || word == "--verbose" || word == "-v";
  }
  try {
    if (words.empty()) {
      session.print(short_help());
      return kDone;
    }
    if (words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
      if (words.size() > 1 && words[0] == "help") {
        words.erase(words.begin());
        words.emplace_back("--help");
      } else {
        session.json = false;
        session.print(program_help());
        return kDone;
      }
    }
    if (words[0] == "--version" || words[0] == "-V") {
      words[0] = "version";
    }
    if (words.size() > 1 && (words[1] == "--help" || words[1] == "-h")) {
      if (const std::string group = group_help(words[0]); !group.empty()) {
        session.json = false;
        session.print(group);
        return kDone;
      }
    }
    const std::unique_ptr<Command> command = take_command(words);
    const ParsedLine line = parse_line(*command, words);
    if (line.help) {
      session.json = false;
      session.print(command_help(*command, *line.help));
      return kDone;
    }
    session.json = line.common.json;
    session.quiet = line.common.quiet;
    session.verbose = line.common.verbose;
    session.color_err = wants_color(line.common.color, STDERR_FILENO);
    session.color_out = wants_color(line.common.color, STDOUT_FILENO) && !session.json;
    return command->run(session, line.arguments);
  } catch (...) {
    return report_exception(session);
  }
}

}  // namespace

void usage_error(std::string text) { throw OptionError({{"", std::move(text)}}); }

const std::vector<CommandEntry>& command_catalog() {
  static const std::vector<CommandEntry> commands = {
      {"train", make_train_command},     {"eval", make_eval_command},           {"predict", make_predict_command},
      {"list", make_list_command},       {"inspect", make_inspect_command},     {"convert", make_convert_command},
      {"compare", make_compare_command}, {"export", make_export_command}, {"probe", make_probe_command},         {"data check", make_data_check_command},
      {"pack", make_pack_command},
      {"augment list", make_augment_list_command},
      {"augment explain", make_augment_explain_command},
      {"augment preview", make_augment_preview_command},
      {"augment show", make_augment_show_command},
      {"augment bench", make_augment_bench_command},
      {"drop preview", make_drop_preview_command},
      {"ensemble train", make_ensemble_train_command},
      {"ensemble add", make_ensemble_add_command},
      {"ensemble adopt", make_ensemble_adopt_command},
      {"ensemble retire", make_ensemble_retire_command},
      {"ensemble status", make_ensemble_status_command},
      {"ensemble combine", make_ensemble_combine_command},
      {"ensemble select", make_ensemble_select_command},
      {"ensemble calibrate", make_ensemble_calibrate_command},
      {"ensemble prune", make_ensemble_prune_command},
      {"ensemble cascade", make_ensemble_cascade_command},
      {"ensemble eval", make_ensemble_eval_command},
      {"ensemble report", make_ensemble_report_command},
      {"ensemble soup", make_ensemble_soup_command},
      {"ensemble distill", make_ensemble_distill_command},
      {"ensemble predict", make_ensemble_predict_command},
      {"calibrate", make_calibrate_command},
      {"what-if", make_what_if_command}, {"fsck", make_fsck_command},           {"verify", make_verify_command},
      {"lr-find", make_lr_find_command},
      {"report", make_report_command},   {"config", make_config_command},       {"bench", make_bench_command},
      {"doctor", make_doctor_command},   {"completion", make_completion_command}, {"version", make_version_command},
  };
  return commands;
}

}  // namespace ballast::cli

int main(int argc, char** argv) { return ballast::cli::run({argv + 1, argv + argc}); }
