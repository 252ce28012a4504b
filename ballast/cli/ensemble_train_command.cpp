#include <algorithm>
#include <charconv>

#include <ballast/base/check.h>
#include <ballast/base/options.h>
#include <ballast/data/bag.h>
#include <ballast/data/source.h>
#include <ballast/io/file.h>

#include "command.h"
#include "ensemble_plan.h"
#include "member_trainer.h"
#include "run_config.h"

namespace ballast::cli {
namespace {

namespace fs = std::filesystem;

std::string check_member_bag(const std::string& text) {
  int64_t folds = 0;
  const char* end = text.data() + text.size();
  if (text == "none" || text == "bootstrap") return "";
  if (text.starts_with("folds:") && std::from_chars(text.data() + 6, end, folds).ptr == end &&
      folds >= 2 && folds <= 1000)
    return "";
  if (text.starts_with("subset:")) {
    try {
      parse_bag(text);
      return "";
    } catch (const std::invalid_argument&) {
    }
  }
  return "must be none, bootstrap, subset:S with 0 < S < 1 or folds:K with K >= 2, got \"" + text +
         "\"";
}

std::string check_share(const std::string& text) {
  return text == "init" || text == "data" || text == "drop"
             ? ""
             : "must be of init, data and drop, got \"" + text + "\"";
}

struct ParallelFlags {
  Auto<int64_t> jobs;
  int64_t retries = 2;
  int64_t min_members = 2;
  std::string on_diverge = "skip";
};
template <class Visitor>
void describe(Visitor& visit, ParallelFlags& o) {
  visit("jobs", o.jobs,
        {.help = "nets at a time; auto: the cores over --threads",
         .flags = "--jobs",
         .range = between(1, 4096)});
  visit("retries", o.retries,
        {.help = "how often a net that died goes on",
         .flags = "--retries",
         .range = between(0, 100)});
  visit("min_members", o.min_members,
        {.help = "fewer trained members than this fail the command",
         .flags = "--min-members",
         .range = between(1, 10'000)});
  visit("on_diverge", o.on_diverge,
        {.help = "a member that diverges is left out; or begins anew with 0.3 of its rate, at most "
                 "three times",
         .flags = "--on-diverge",
         .choices = "skip lower-lr"});
}

struct VaryFlags {
  std::vector<std::string> vary;
  std::string vary_mode = "zip";
  std::string bag = "none";
  std::vector<std::string> share;
};
template <class Visitor>
void describe(Visitor& visit, VaryFlags& o) {
  visit("vary", o.vary,
        {.help = "what differs beside the seed: a key of train and its values; may be given "
                 "several times",
         .flags = "--vary",
         .value_name = "KEY=V,V"});
  visit("vary_mode", o.vary_mode,
        {.help = "zip: member m has value m of each key; grid: all combinations; random: drawn",
         .flags = "--vary-mode",
         .choices = "zip grid random"});
  visit("bag", o.bag,
        {.help = "what a member trains on: bootstrap, subset:S, or folds:K: K nets, each without "
                 "one fold, whose "
                 "predictions on it serve stacking",
         .flags = "--bag",
         .check = check_member_bag});
  visit(
      "share", o.share,
      {.help = "what members have in common: init (initial values), data (order, augmentation and "
               "mixing of the pictures), drop (masks); isolates what makes them differ",
       .flags = "--share",
       .value_name = "KIND,KIND",
       .check = check_share});
}

/// --out, runs/<name>, or the next runs/ensemble-<n> that does not exist.
fs::path folder_of(const RunSection& run) {
  if (!run.out.empty()) return run.out;
  const fs::path runs = "runs";
  if (!run.name.empty()) return runs / run.name;
  int64_t n = 1;
  while (fs::exists(runs / ("ensemble-" + std::to_string(n)))) ++n;
  return runs / ("ensemble-" + std::to_string(n));
}

struct CountFlags {
  int64_t members;
};
template <class Visitor>
void describe(Visitor& visit, CountFlags& o) {
  visit("members", o.members,
        {.help = "number of members", .flags = "--members", .range = between(1, 10'000)});
}

/// Combination, temperature and page, as their commands do it.
int finish(const Session& session, const fs::path& folder) {
  const Arguments arguments{.operands = {folder.string()}, .flags = {}};
  Session silent = session;
  silent.silent = silent.json;
  int code = make_ensemble_combine_command()->run(silent, arguments);
  if (code == kDone) code = make_ensemble_calibrate_command()->run(silent, arguments);
  silent.silent = true;
  if (code == kDone) code = make_ensemble_report_command()->run(silent, arguments);
  if (code == kDone) session.note("report    " + (folder / "report.html").string());
  if (code == kDone && session.json) return make_ensemble_eval_command()->run(session, arguments);
  return code;
}

/// Variables of the environment that name a key of a run: they are applied before the plan is made.
std::vector<std::string> applied_variables(const OptionTable& table) {
  std::vector<std::string> out;
  for (const OptionRow& row : table.rows()) out.push_back(row.environment());
  return out;
}

int train_and_finish(const Session& session, const fs::path& folder, EnsemblePlan& plan,
                     const ParallelFlags& flags, const OptionTable& table) {
  const int code = train_members(session, folder, plan,
                                 {.jobs = flags.jobs.value_or(0),
                                  .retries = flags.retries,
                                  .min_members = flags.min_members,
                                  .lower_lr = flags.on_diverge == "lower-lr",
                                  .without = applied_variables(table)});
  return code == kDone ? finish(session, folder) : code;
}

/// Keys and values of what varies, checked before anything is trained.
void check_recipes(const EnsemblePlan& plan) {
  for (const PlannedMember& m : plan.members) {
    RunOptions copy;
    OptionTable table = option_table(copy);
    for (const auto& [key, value] : m.recipe) {
      for (const char* own : {"run.", "data.split.", "data.bag", "data.source"}) {
        if (key.starts_with(own)) usage_error("--vary: " + key + " is the same for all members");
      }
      const std::string error = table.set(key, OptionValue::from_text(value), "--vary");
      if (!error.empty()) usage_error("--vary: " + error);
    }
  }
}

class EnsembleTrainCommand : public Command {
 public:
  EnsembleTrainCommand() : table_(option_table(options_)) {
    own_.add("ensemble", count_);
    own_.add("ensemble", vary_);
    own_.add("ensemble", parallel_);
    own_.add("ensemble", config_);
  }
  CommandText text() const override {
    return {
        .name = "ensemble train",
        .summary = "train several members and make one model of them",
        .operands = "",
        .about =
            "Takes every flag of train. --out is the ensemble's folder (without it a new one, "
            "runs/ensemble-<n>); a run for each member stands in members/, with a seed that hangs "
            "on --seed and the member's number alone: trained first, alone, two at a time or a "
            "year later it has the "
            "same bits. Members are processes, as many at a time as there are cores for (--threads "
            "each, default 1).\n"
            "\n"
            "A tenth of the training pictures (--hold-share) is read by no member: weights and "
            "temperature of the ensemble are "
            "fitted there. All members share the split.\n"
            "\n"
            "The same command with --out or --name goes on where it stood: what is done stays, "
            "what was "
            "interrupted or killed goes on from its last "
            "checkpoint and ends with the same bits. A member that dies is repeated alone; one "
            "that is lost is named and left "
            "out. At the end the members are combined and calibrated, and report.html is written.",
        .examples =
            {
                {"five members, your own pictures",
                 "ballast ensemble train --data photos/ --members 5"},
                {"other architectures",
                 "ballast ensemble train --out runs/mixed --members 3 --vary "
                 "model=resnet20,lenet,wide_resnet16_4"},
                {"other learning rates",
                 "ballast ensemble train --out runs/rates --members 3 --vary lr=0.05,0.1,0.2"},
                {"the same start for all: how much does the order of the pictures alone do?",
                 "ballast ensemble train --out runs/order --members 5 --share init,drop"},
                {"other pictures each",
                 "ballast ensemble train --out runs/bags --members 5 --bag bootstrap"},
                {"out-of-fold predictions, for stacking",
                 "ballast ensemble train --out runs/folds --members 3 --bag folds:5 "
                 "--vary model=lenet,resnet20,mlp:2x256"},
            },
    };
  }
  OptionTable* sections() override { return &table_; }
  std::string foreign(std::string_view flag) const override { return foreign_flag(flag); }

  int run(const Session& session, const Arguments& arguments) override {
    load_run_options(options_, table_, config_, arguments);
    const fs::path folder = folder_of(options_.run);
    EnsemblePlan plan;
    plan.training = training_plan();
    plan_members(plan, count_.members, table_);
    check_recipes(plan);
    check_labels();
    make_folders(folder / "members");
    const FileLock lock(folder / ".lock", "ballast ensemble train");
    if (has_plan(folder)) {
      EnsemblePlan kept = read_plan(folder);
      check_same(folder, kept, plan);
      plan = std::move(kept);
    } else {
      write_plan(folder, plan);
    }
    return train_and_finish(session, folder, plan, parallel_, table_);
  }

 private:
  /// Rules and calibration of ensembles are of one label a picture: said before anything is trained.
  void check_labels() const {
    std::error_code error;  // what is wrong with the data, members say
    if (fs::is_regular_file(options_.data.source, error)) {
      check<DataError>(!open_source(data_options(options_))->several_labels(), "ensemble",
                       "members must be of one label a picture, got data of several labels");
    }
  }

  TrainingPlan training_plan() {
    if (options_.data.bag != "none") usage_error("--data-bag is a single run's: give --bag");
    if (options_.data.split_seed)
      usage_error("the split of an ensemble hangs on --seed: leave --split-seed out");
    TrainingPlan out;
    out.seed = options_.run.seed;
    out.threads = options_.run.threads.value_or(1);
    out.vary = join_vary(vary_.vary);
    out.vary_mode = vary_.vary_mode;
    out.bag = vary_.bag;
    out.share = vary_.share;
    std::ranges::sort(out.share);
    if (out.share.size() >= 3 && out.vary.empty() && out.bag == "none")
      usage_error("--share init,data,drop leaves nothing that differs: give --vary or --bag too");
    if (options_.run.init_seed || options_.run.data_seed || options_.run.drop_seed)
      usage_error("--init-seed, --data-seed and --drop-seed are a single run's: give --share");
    const bool folds = out.bag.starts_with("folds:");
    if (folds && options_.data.split_hold > 0)
      usage_error("--hold-share must be 0 with --bag folds:K, which holds folds out");
    if (!folds && table_.find("data.split.hold")->origin == "default") {
      table_.set("data.split.hold", OptionValue::from_text("0.1"), "ensemble");
    }
    // Members and later commands may run elsewhere.
    std::error_code error;
    for (std::string* path : {&options_.data.source, &options_.model.pretrained}) {
      if (!path->empty() && fs::exists(*path, error))
        *path = fs::absolute(*path).lexically_normal().string();
    }
    for (const OptionRow& row : table_.rows()) {
      const bool own = row.key == "run.out" || row.key == "run.seed" || row.key == "run.threads" ||
                       row.key == "run.name";
      if (!own && row.origin != "default") out.common.emplace_back(row.key, row.text());
    }
    return out;
  }

  void check_same(const fs::path& folder, const EnsemblePlan& kept,
                  const EnsemblePlan& asked) const {
    const std::string more =
        "; ballast ensemble add " + folder.string() + " --members N trains more members";
    check(kept.training.has_value(), "ensemble", folder.string(),
          " holds an ensemble of adopted members; give another --out");
    int64_t trained = 0;
    for (const PlannedMember& m : kept.members) trained += m.seed ? 1 : 0;
    check(trained >= count_.members, "ensemble", folder.string(), " has ", trained,
          " members, got --members ", count_.members, more);
    check(kept.training->threads == asked.training->threads, "ensemble",
          "threads of a member must stay ", kept.training->threads,
          ", which its bits hang on, got ", asked.training->threads);
    if (*kept.training == *asked.training) return;
    for (const auto& [key, value] : asked.training->common) {
      const auto at = std::ranges::find(kept.training->common, key,
                                        &std::pair<std::string, std::string>::first);
      const std::string before = at == kept.training->common.end() ? "its default" : at->second;
      check(before == value, "ensemble", folder.string(),
            " holds an ensemble of another configuration: ", key, " is ", before, " there and ",
            value, " now; another --out keeps both");
    }
    fail("ensemble", folder.string(),
         " holds an ensemble of another configuration; another --out keeps both", more);
  }

  RunOptions options_;
  OptionTable table_;
  CountFlags count_{.members = 5};
  VaryFlags vary_;
  ParallelFlags parallel_;
  ConfigFlags config_;
};

struct AddFlags {
  std::vector<std::string> vary;
};
template <class Visitor>
void describe(Visitor& visit, AddFlags& o) {
  visit("vary", o.vary,
        {.help = "in place of what varied so far", .flags = "--vary", .value_name = "KEY=V,V"});
}

class EnsembleAddCommand : public Command {
 public:
  EnsembleAddCommand() {
    own_.add("ensemble", count_);
    own_.add("ensemble", flags_);
    own_.add("ensemble", parallel_);
  }
  CommandText text() const override {
    return {
        .name = "ensemble add",
        .summary = "train more members of an ensemble",
        .operands = "RUN",
        .about =
            "Appends members with the options of ballast ensemble train and new numbers: five and "
            "two more are the seven that "
            "seven at once would be. If it is interrupted, ballast ensemble train with its first "
            "options goes on.",
        .examples = {{"two more", "ballast ensemble add runs/ens --members 2"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 1}; }
  int run(const Session& session, const Arguments& arguments) override {
    const fs::path folder = arguments.operands[0];
    check<DataError>(has_plan(folder), "ensemble", folder.string(),
                     ": no ensemble: there is no plan.json in it");
    const FileLock lock(folder / ".lock", "ballast ensemble add");
    EnsemblePlan plan = read_plan(folder);
    check(plan.training.has_value(), "ensemble", folder.string(),
          " holds adopted members only; ballast ensemble train makes one to add to");
    RunOptions options;
    const OptionTable table = option_table(options);
    const std::vector<std::string> vary = plan.training->vary;
    if (!flags_.vary.empty()) plan.training->vary = join_vary(flags_.vary);
    plan_members(plan, count_.members, table);
    plan.training->vary = vary;
    check_recipes(plan);
    write_plan(folder, plan);
    remove_file(folder / "ensemble.json");
    return train_and_finish(session, folder, plan, parallel_, table);
  }

 private:
  CountFlags count_{.members = 1};
  AddFlags flags_;
  ParallelFlags parallel_;
};

}  // namespace

std::unique_ptr<Command> make_ensemble_train_command() {
  return std::make_unique<EnsembleTrainCommand>();
}
std::unique_ptr<Command> make_ensemble_add_command() {
  return std::make_unique<EnsembleAddCommand>();
}

}  // namespace ballast::cli
