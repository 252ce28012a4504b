#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <ballast/base/options.h>

#include "session.h"

namespace ballast::cli {

/// What a command's help says.
struct CommandText {
  std::string_view name;      ///< "train", "data check"
  std::string_view summary;   ///< one line
  std::string_view operands;  ///< "MODEL FILES...", or empty
  std::string_view about;     ///< paragraphs
  /// A comment and a command line each.
  std::vector<std::pair<std::string_view, std::string_view>> examples;
};

/// A value given by a flag: applied after the configuration files and the environment.
struct FlagValue {
  std::string flag;   ///< as shown: "--lr"
  std::string key;    ///< "optim.lr"
  std::string value;
};

/// What stood behind the command's name.
struct Arguments {
  std::vector<std::string> operands;
  std::vector<FlagValue> flags;   ///< of sections(), not yet applied
};

/// A subcommand. One file each.
class Command {
 public:
  Command() = default;
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;
  virtual ~Command() = default;

  virtual CommandText text() const = 0;
  /// Own flags; filled in from the command line before run().
  virtual OptionTable& own() { return own_; }
  /// Keys of a run, each also the flag --section.key; null if the command has none.
  virtual OptionTable* sections() { return nullptr; }
  /// Whether the own flags are given as they are, or a foreign spelling that is refused: a remedy, or "".
  virtual std::string foreign(std::string_view) const { return ""; }
  /// Number of operands, at least and at most.
  virtual std::pair<size_t, size_t> operands() const { return {0, 0}; }
  /// Returns the exit code; throws as the library does.
  virtual int run(const Session& session, const Arguments& arguments) = 0;

 protected:
  OptionTable own_;
};

/// Constructors of all commands, in the order of help. A name may have two words: "data check".
struct CommandEntry {
  std::string_view name;
  std::unique_ptr<Command> (*make)();
};
const std::vector<CommandEntry>& command_catalog();

std::unique_ptr<Command> make_train_command();
std::unique_ptr<Command> make_eval_command();
std::unique_ptr<Command> make_predict_command();
std::unique_ptr<Command> make_list_command();
std::unique_ptr<Command> make_inspect_command();
std::unique_ptr<Command> make_convert_command();
std::unique_ptr<Command> make_compare_command();
std::unique_ptr<Command> make_export_command();
std::unique_ptr<Command> make_probe_command();
std::unique_ptr<Command> make_data_check_command();
std::unique_ptr<Command> make_pack_command();
std::unique_ptr<Command> make_augment_list_command();
std::unique_ptr<Command> make_augment_explain_command();
std::unique_ptr<Command> make_augment_preview_command();
std::unique_ptr<Command> make_augment_show_command();
std::unique_ptr<Command> make_augment_bench_command();
std::unique_ptr<Command> make_drop_preview_command();
std::unique_ptr<Command> make_calibrate_command();
std::unique_ptr<Command> make_ensemble_train_command();
std::unique_ptr<Command> make_ensemble_add_command();
std::unique_ptr<Command> make_ensemble_adopt_command();
std::unique_ptr<Command> make_ensemble_retire_command();
std::unique_ptr<Command> make_ensemble_status_command();
std::unique_ptr<Command> make_ensemble_combine_command();
std::unique_ptr<Command> make_ensemble_select_command();
std::unique_ptr<Command> make_ensemble_calibrate_command();
std::unique_ptr<Command> make_ensemble_prune_command();
std::unique_ptr<Command> make_ensemble_cascade_command();
std::unique_ptr<Command> make_ensemble_eval_command();
std::unique_ptr<Command> make_ensemble_report_command();
std::unique_ptr<Command> make_ensemble_predict_command();
std::unique_ptr<Command> make_ensemble_soup_command();
std::unique_ptr<Command> make_ensemble_distill_command();
std::unique_ptr<Command> make_what_if_command();
std::unique_ptr<Command> make_fsck_command();
std::unique_ptr<Command> make_lr_find_command();
std::unique_ptr<Command> make_verify_command();
std::unique_ptr<Command> make_report_command();
std::unique_ptr<Command> make_config_command();
std::unique_ptr<Command> make_bench_command();
std::unique_ptr<Command> make_doctor_command();
std::unique_ptr<Command> make_completion_command();
std::unique_ptr<Command> make_version_command();

/// Throws OptionError with one problem, without a place.
[[noreturn]] void usage_error(std::string text);

}  // namespace ballast::cli
