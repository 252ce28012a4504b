#include <filesystem>

#include <ballast/base/check.h>
#include <ballast/base/config_file.h>
#include <ballast/control/what_if.h>
#include <ballast/io/jsonl.h>
#include <ballast/report/table.h>

#include "command.h"
#include "find_run.h"
#include "run_config.h"

namespace ballast::cli {
namespace {

using nlohmann::ordered_json;

struct WhatIfFlags {
  std::vector<std::string> patience = {"2", "5", "10"};
  std::vector<double> min_delta;
  std::string monitor;
};
std::string check_patience(const std::string& text) {
  const bool digits = !text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == std::string::npos;
  return digits && std::stoll(text) >= 1 ? "" : "must be a whole number, 1 or more, got \"" + text + "\"";
}
template <class Visitor>
void describe(Visitor& visit, WhatIfFlags& o) {
  visit("patience", o.patience, {.help = "patience to try, one or several", .flags = "--patience", .value_name = "N,N,...",
                                 .check = check_patience});
  visit("min_delta", o.min_delta, {.help = "least improvement to try (default: the run's own)", .flags = "--min-delta",
                                   .range = at_least(0), .value_name = "X,X,..."});
  visit("monitor", o.monitor, {.help = "metric to go by: val/top1 (default: the run's own)", .flags = "--monitor",
                               .value_name = "METRIC"});
}

std::vector<WhatIfCheck> checks_of(const std::filesystem::path& run, const std::string& metric) {
  const std::filesystem::path path = run / "metrics.jsonl";
  std::vector<WhatIfCheck> checks;
  double steps_per_epoch = 1;
  for (const JsonValue& row : read_jsonl(path).rows) {
    if (row.string_or("kind", "") == "run") {
      steps_per_epoch = std::max(1.0, row.number_or("steps_per_epoch", 1));
    }
    if (row.string_or("kind", "") != "check" || row.string_or("split", "") != "val") {
      continue;
    }
    check<DataError>(row.find(metric) != nullptr, "what_if", path.string(), " must have ", metric, " in its checks, it has not");
    const int64_t step = row.at("step").integer();
    checks.push_back({.check = {.value = row.at(metric).number(),
                                .epoch = static_cast<int64_t>(static_cast<double>(step) / steps_per_epoch), .step = step},
                      .value_se = row.number_or(metric + ".se", 0)});
  }
  check<DataError>(!checks.empty(), "what_if", path.string(), " must have checks of the validation part, there are none");
  return checks;
}

class WhatIfCommand : public Command {
 public:
  WhatIfCommand() { own_.add("what_if", flags_); }
  CommandText text() const override {
    return {
        .name = "what-if",
        .summary = "what early stopping would have saved and lost in a run",
        .operands = "RUN",
        .about = "Goes through the checks of a run again, once for each patience and least improvement: when training would "
                 "have stopped, the share of the steps that this saves, and how much worse the best weights until then are "
                 "than those of the whole run, in the metric's units and in standard errors of a difference (~: from the two "
                 "errors apart, which is too large for the same pictures).\n"
                 "\n"
                 "A run with a falling learning rate improves late: such a run stopped early is not the run that was planned "
                 "shorter.",
        .examples =
            {
                {"three values of patience", "ballast what-if runs/photos-resnet18-1 --patience 3,5,10"},
                {"with a least improvement", "ballast what-if last --patience 3,5 --min-delta 0,0.001"},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 1}; }

  int run(const Session& session, const Arguments& arguments) override {
    const std::filesystem::path run = find_run(arguments.operands[0]);
    RunOptions options;
    OptionTable table = option_table(options);
    const std::string config = (run / "config.toml").string();
    if (std::vector<OptionProblem> problems = apply_toml(table, read_config_file(config), config); !problems.empty()) {
      throw OptionError(problems);
    }
    if (!flags_.monitor.empty()) {
      const std::string error = table.set("stop.monitor", OptionValue::from_text(flags_.monitor), "flag");
      if (!error.empty()) {
        usage_error("--monitor " + error.substr(error.find(' ') + 1));
      }
      options.stop.mode = "auto";
    }
    EarlyStoppingOptions stop = stopping_options(options.stop);
    const std::vector<WhatIfCheck> checks = checks_of(run, options.stop.monitor.substr(options.stop.monitor.find('/') + 1));
    const std::vector<double> deltas = flags_.min_delta.empty() ? std::vector{options.stop.min_delta} : flags_.min_delta;
    Table out({{"patience"}, {"min delta"}, {"stops at epoch"}, {"steps saved"}, {options.stop.monitor}, {"worse by"}, {"in SE"}});
    ordered_json rows = ordered_json::array();
    for (const std::string& p : flags_.patience) {
      for (const double delta : deltas) {
        stop.patience = std::stoll(p);
        stop.min_delta = delta;
        const WhatIfRow row = what_if(stop, checks);
        out.row({p, format_significant(delta, 3), row.stop_check ? std::to_string(row.epoch) : "-",
                 format_fixed(100 * row.saved, 1) + " %", row.best ? format_significant(*row.best, 5) : "-",
                 format_significant(row.lost, 3), row.lost_in_se ? "~" + format_fixed(*row.lost_in_se, 2) : "-"});
        rows.push_back({{"patience", stop.patience.value()}, {"min_delta", delta},
                        {"stop_check", row.stop_check ? ordered_json(*row.stop_check) : ordered_json()},
                        {"reason", row.stop_check ? ordered_json(stop_reason_name(row.reason)) : ordered_json()},
                        {"epoch", row.epoch}, {"step", row.step}, {"saved", row.saved},
                        {"best", row.best ? ordered_json(*row.best) : ordered_json()}, {"best_step", row.best_step},
                        {"lost", row.lost}, {"lost_in_se", row.lost_in_se ? ordered_json(*row.lost_in_se) : ordered_json()}});
      }
    }
    session.print(out.text());
    session.document({{"run", run.string()}, {"monitor", options.stop.monitor}, {"checks", checks.size()}, {"rows", rows}});
    return kDone;
  }

 private:
  WhatIfFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_what_if_command() { return std::make_unique<WhatIfCommand>(); }

}  // namespace ballast::cli
