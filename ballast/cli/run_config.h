#pragma once

#include <optional>
#include <string>
#include <vector>

#include <ballast/train/run_options.h>

#include "command.h"

namespace ballast::cli {

/// Flags of commands that take the configuration of a run, beside the keys themselves: files, and other programs'
/// spellings that mean the same as a key.
struct ConfigFlags {
  std::vector<std::string> config;
  std::optional<double> lr_base;
  std::optional<double> clip_grad;
  std::string clip_mode = "norm";
  bool channels_last = false;
  bool no_aug = false;
  bool sched_on_updates = false;
  std::optional<int64_t> recovery_interval;
};
template <class Visitor>
void describe(Visitor& visit, ConfigFlags& o) {
  visit("config", o.config, {.help = "configuration file in TOML; may be given several times, the last one wins",
                             .flags = "--config", .value_name = "FILE"});
  visit("lr_base", o.lr_base, {.help = "learning rate for a batch of 256: --lr = this x batch size / 256",
                               .flags = "--lr-base", .range = above(0)});
  visit("clip_grad", o.clip_grad, {.help = "clip gradients at this limit: --clip norm:C", .flags = "--clip-grad",
                                   .range = above(0), .value_name = "C"});
  visit("clip_mode", o.clip_mode, {.help = "what --clip-grad limits", .flags = "--clip-mode", .choices = "norm value agc"});
  visit("channels_last", o.channels_last, {.help = "--layout channels_last", .flags = "--channels-last"});
  visit("no_aug", o.no_aug, {.help = "--augment none", .flags = "--no-aug"});
  visit("sched_on_updates", o.sched_on_updates, {.help = "--sched-per step", .flags = "--sched-on-updates"});
  visit("recovery_interval", o.recovery_interval, {.help = "--save-every in steps", .flags = "--recovery-interval",
                                                   .range = at_least(1)});
}

/// The layers of a configuration onto `options`, whose table is `table`: files, environment, flags. Reports all that is
/// wrong together (OptionError), a file that cannot be read as DataError. Fills options.origins.
void load_run_options(RunOptions& options, OptionTable& table, const ConfigFlags& config, const Arguments& arguments);

/// The text of a configuration file; DataError if it cannot be read.
std::string read_config_file(const std::string& path);

/// A remedy for a flag or key that other programs have and that means something else or has another name here; or "".
std::string foreign_flag(std::string_view flag);

}  // namespace ballast::cli
