#include "run_config.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <ballast/base/check.h>
#include <ballast/base/config_file.h>

namespace ballast::cli {
namespace {

std::vector<std::string> environment() {
  std::vector<std::string> out;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    out.emplace_back(*variable);
  }
  return out;
}

/// Other programs' flags as values of keys.
std::vector<FlagValue> translated(const ConfigFlags& o, const RunOptions& options) {
  std::vector<FlagValue> out;
  if (o.lr_base) {
    const double lr = *o.lr_base * static_cast<double>(options.train.batch_size) / 256;
    out.push_back({"--lr-base", "optim.lr", detail::option_text(lr)});
  }
  if (o.clip_grad) {
    out.push_back({"--clip-grad", "train.clip", o.clip_mode + ":" + detail::option_text(*o.clip_grad)});
  }
  if (o.channels_last) {
    out.push_back({"--channels-last", "train.layout", "channels_last"});
  }
  if (o.no_aug) {
    out.push_back({"--no-aug", "augment.preset", "none"});
  }
  if (o.sched_on_updates) {
    out.push_back({"--sched-on-updates", "schedule.per", "step"});
  }
  if (o.recovery_interval) {
    out.push_back({"--recovery-interval", "save.every", std::to_string(*o.recovery_interval) + "st"});
  }
  return out;
}

struct Foreign {
  std::string_view flag, remedy;
};
constexpr std::array kForeign = {
    Foreign{"--grad-accum-steps", "batch_size counts the whole step: use --micro-batch 128"},
    Foreign{"--accumulate-grad-batches", "batch_size counts the whole step: use --micro-batch 128"},
    Foreign{"--gradient-accumulation-steps", "batch_size counts the whole step: use --micro-batch 128"},
    Foreign{"--num-classes", "the classes are those of the data"},
    Foreign{"--learning-rate", "use --lr"},
    Foreign{"--max-epochs", "use --epochs"},
    Foreign{"--num-epochs", "use --epochs"},
    Foreign{"--num-workers", "use --workers"},
    Foreign{"--optimizer", "use --opt"},
    Foreign{"--scheduler", "use --sched"},
    Foreign{"--lr-scheduler", "use --sched"},
    Foreign{"--dataset", "use --data"},
    Foreign{"--root", "use --data"},
    Foreign{"--arch", "use --model"},
    Foreign{"--output", "use --out"},
    Foreign{"--output-dir", "use --out"},
    Foreign{"--experiment", "use --name"},
    Foreign{"--project", "use --out"},
    Foreign{"--imgsz", "use --image-size"},
    Foreign{"--input-size", "use --image-size, the side in pixels"},
    Foreign{"--batch", "use --batch-size"},
    Foreign{"--bs", "use --batch-size"},
    Foreign{"--gpu", "use --device cuda:0"},
    Foreign{"--label-smooth", "use --smoothing"},
    Foreign{"--early-stopping", "use --patience N"},
    Foreign{"--warmup-steps", "use --warmup 500st"},
    Foreign{"--cooldown-epochs", "the schedule runs over the whole of --epochs"},
};

}  // namespace

std::string read_config_file(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    throw DataError(path + " is a folder, not a configuration file");
  }
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    throw DataError(path + ": " + std::strerror(errno));
  }
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string foreign_flag(std::string_view flag) {
  for (const Foreign& row : kForeign) {
    if (row.flag == flag) {
      return std::string(row.remedy);
    }
  }
  return "";
}

void load_run_options(RunOptions& options, OptionTable& table, const ConfigFlags& config, const Arguments& arguments) {
  std::vector<OptionProblem> problems;
  const auto add = [&](std::vector<OptionProblem> more) {
    problems.insert(problems.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  };
  for (const std::string& path : config.config) {
    add(apply_toml(table, read_config_file(path), path));
  }
  add(apply_environment(table, environment()));
  const auto set = [&](const FlagValue& flag) {
    const std::string error = table.set(flag.key, OptionValue::from_text(flag.value), "flag");
    const std::string prefix = flag.key + " ";
    if (!error.empty()) {
      problems.push_back({"", flag.flag + " " + (error.starts_with(prefix) ? error.substr(prefix.size()) : error)});
    }
  };
  for (const FlagValue& flag : arguments.flags) {
    set(flag);
  }
  // After the keys, since --lr-base needs the batch size.
  for (const FlagValue& flag : translated(config, options)) {
    const bool both = std::any_of(arguments.flags.begin(), arguments.flags.end(),
                                  [&](const FlagValue& other) { return other.key == flag.key; });
    if (both) {
      problems.push_back({"", flag.flag + " and a flag of " + flag.key + " say the same thing: give one of them"});
    }
    set(flag);
  }
  for (const OptionRow& row : table.rows()) {
    if (row.origin != "default") {
      options.origins[row.key] = row.origin;
    }
  }
  if (problems.empty()) {
    for (const std::string& conflict : find_conflicts(options)) {
      problems.push_back({"", conflict});
    }
  }
  if (!problems.empty()) {
    throw OptionError(problems);
  }
}

}  // namespace ballast::cli
