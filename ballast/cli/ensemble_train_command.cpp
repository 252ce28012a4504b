#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/io/jsonl.h>
#include <ballast/report/table.h>

#include "child_process.h"
#include "ensemble_plan.h"
#include "run_config.h"

namespace ballast::cli {
namespace {

namespace fs = std::filesystem;

struct TrainFlags {
  std::string folder;
  int64_t members = 5;
  std::vector<std::string> vary;
  std::string vary_mode = "zip";
  Auto<int64_t> jobs;
  int64_t retries = 2;
  int64_t min_members = 2;
};
template <class Visitor>
void describe_parallel(Visitor& visit, TrainFlags& o) {
  visit("jobs", o.jobs, {.help = "members at a time; auto: the cores over --threads", .flags = "--jobs", .range = between(1, 4096)});
  visit("retries", o.retries, {.help = "how often a member that died is tried again", .flags = "--retries", .range = between(0, 100)});
  visit("min_members", o.min_members, {.help = "fewer trained members than this fail the command", .flags = "--min-members", .range = between(1, 10'000)});
}
template <class Visitor>
void describe(Visitor& visit, TrainFlags& o) {
  visit("members", o.members, {.help = "number of members", .flags = "--members", .range = between(1, 10'000)});
  visit("vary", o.vary, {.help = "what differs beside the seed: a key of train and its values; may be given several times", .flags = "--vary",
                         .value_name = "KEY=V,V"});
  visit("vary_mode", o.vary_mode, {.help = "zip: member m has level m of each; grid: all combinations", .flags = "--vary-mode", .choices = "zip grid"});
  describe_parallel(visit, o);
}

/// Members that events.jsonl says are done, and that are there.
std::vector<int64_t> done_members(const fs::path& folder, const EnsemblePlan& plan) {
  std::vector<int64_t> said, out;
  std::error_code error;
  const fs::path file = folder / "events.jsonl";
  if (fs::exists(file, error)) {
    for (const JsonValue& row : read_jsonl(file).rows) {
      if (row.string_or("kind", "") == "done") said.push_back(row.at("member").integer());
    }
  }
  for (const PlannedMember& m : plan.members) {
    const fs::path run = member_folder(folder, m);
    const bool there = fs::exists(run / "model" / "model.safetensors", error) && fs::exists(run / "predictions" / "test.safetensors", error);
    if (there && (m.adopted || std::ranges::count(said, m.id) > 0)) out.push_back(m.id);
  }
  return out;
}

/// Trains what the plan lacks. Returns an exit code.
class Trainer {
 public:
  Trainer(const Session& session, const fs::path& folder, EnsemblePlan plan, const TrainFlags& flags)
      : session_(session), folder_(folder), plan_(std::move(plan)), flags_(flags), events_(folder / "events.jsonl") {}

  int run() {
    const auto done = done_members(folder_, plan_);
    for (const PlannedMember& m : plan_.members) {
      if (!m.adopted && !m.retired && std::ranges::count(done, m.id) == 0) left_.push_back(&m);
    }
    const auto t = static_cast<int>(plan_.threads);
    const int jobs = static_cast<int>(std::min<int64_t>(flags_.jobs.value_or(std::max(1, usable_cores() / t)), std::max<int64_t>(1, static_cast<int64_t>(left_.size()))));
    if (!left_.empty()) {
      session_.note(format_count(static_cast<int64_t>(left_.size())) + " of " + format_count(static_cast<int64_t>(plan_.members.size())) + " members to train, " + std::to_string(jobs) +
                    " at a time, " + std::to_string(t) + (t == 1 ? " thread each" : " threads each"));
    }
    const std::vector<int> cores = allowed_cores();
    std::vector<std::thread> threads;
    for (int job = 0; job < jobs && !left_.empty(); ++job) {
      std::vector<int> own;
      // Own cores, if there are enough for all.
      for (int c = 0; c < t && static_cast<int>(cores.size()) >= jobs * t; ++c) own.push_back(cores[static_cast<size_t>(job * t + c)]);
      threads.emplace_back([this, own] { work(own); });
    }
    for (std::thread& thread : threads) thread.join();
    events_.close();
    if (error_ != nullptr) std::rethrow_exception(error_);
    if (session_.stop_signal() != 0) return exit_code_of_signal(session_.stop_signal());
    const auto now = done_members(folder_, plan_);
    const auto trained = static_cast<int64_t>(now.size());
    for (const std::string& text : lost_) session_.warn(text);
    if (trained < std::min<int64_t>(flags_.min_members, static_cast<int64_t>(plan_.members.size()))) {
      session_.warn("only " + std::to_string(trained) + " of " + std::to_string(plan_.members.size()) + " members are trained, --min-members is " + std::to_string(flags_.min_members));
      return kNonFinite;
    }
    return kDone;
  }

 private:
  void event(const char* kind, const PlannedMember& m, const ChildEnd* end) {
    JsonValue row = JsonValue::object();
    row["kind"] = kind;
    row["member"] = m.id;
    if (end != nullptr) {
      row["seconds"] = end->seconds;
      row["code"] = end->code;
      if (end->signal != 0) row["signal"] = end->signal;
    }
    events_.append(row);
    events_.sync();
  }

  void work(const std::vector<int>& cores) {
    while (session_.stop_signal() == 0) {
      const PlannedMember* m = nullptr;
      {
        const std::lock_guard lock(mutex_);
        if (next_ >= left_.size() || error_ != nullptr) return;
        m = left_[next_++];
      }
      try {
        train(*m, cores);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        error_ = std::current_exception();
      }
    }
  }

  void train(const PlannedMember& m, const std::vector<int>& cores) {
    const fs::path run = member_folder(folder_, m);
    ChildOptions child{.words = {"train"}, .log = folder_ / "members" / (run.filename().string() + ".log"), .threads = static_cast<int>(plan_.threads), .cores = cores};
    for (const auto& [key, value] : plan_.common) child.words.push_back("--" + key + "=" + value);
    for (const auto& [key, value] : m.recipe) child.words.push_back("--" + key + "=" + value);
    child.words.push_back("--run.seed=" + std::to_string(m.seed));
    child.words.push_back("--run.threads=" + std::to_string(plan_.threads));
    child.words.push_back("--run.out=" + run.string());
    child.words.insert(child.words.end(), {"--progress", "plain"});
    for (int64_t attempt = 0;; ++attempt) {
      // What an attempt that did not end has left; the seed makes the same again.
      std::error_code error;
      fs::remove_all(run, error);
      {
        const std::lock_guard lock(mutex_);
        event("started", m, nullptr);
      }
      const ChildEnd end = run_child(child, [this] { return session_.stop_signal(); });
      const std::lock_guard lock(mutex_);
      if (end.code == kDone) {
        event("done", m, &end);
        session_.note("member " + m.name + " done in " + format_duration(end.seconds));
        return;
      }
      if (session_.stop_signal() != 0) {
        event("interrupted", m, &end);
        return;
      }
      event(end.code == kNonFinite ? "diverged" : "failed", m, &end);
      const std::string how = end.signal != 0 ? "ended by signal " + std::to_string(end.signal) : "exit code " + std::to_string(end.code);
      // Another attempt would use wrong words, or diverge, in the same way.
      if (end.code == kUsage || end.code == kData || end.code == kNonFinite || attempt >= flags_.retries) {
        lost_.push_back("member " + m.name + " is lost (" + how + "): " + end.last_line);
        return;
      }
      session_.note("member " + m.name + ": " + how + "; once more");
    }
  }

  const Session& session_;
  fs::path folder_;
  EnsemblePlan plan_;
  const TrainFlags& flags_;
  std::mutex mutex_;
  JsonlWriter events_;
  std::vector<const PlannedMember*> left_;
  size_t next_ = 0;
  std::vector<std::string> lost_;
  std::exception_ptr error_;
};

/// Combination and page, as their commands do it.
int finish(const Session& session, const fs::path& folder) {
  const Arguments arguments{.operands = {folder.string()}, .flags = {}};
  const int code = make_ensemble_combine_command()->run(session, arguments);
  if (code != kDone || session.json) return code;
  return make_ensemble_report_command()->run(session, arguments);
}

int train_and_finish(const Session& session, const fs::path& folder, const EnsemblePlan& plan, const TrainFlags& flags) {
  const int code = Trainer(session, folder, plan, flags).run();
  return code == kDone ? finish(session, folder) : code;
}

class EnsembleTrainCommand : public Command {
 public:
  EnsembleTrainCommand() : table_(option_table(options_)) {
    own_.add("ensemble", flags_);
    own_.add("ensemble", config_);
  }
  CommandText text() const override {
    return {
        .name = "ensemble train",
        .summary = "train several members and combine them",
        .operands = "",
        .about = "Takes every flag of train. --out is the ensemble's folder; a run of its own for each member stands in members/, with a seed that "
                 "hangs on --seed and the member's number alone: trained first, alone, two at a time or a year later it has the same bits. "
                 "Members are processes, as many at a time as there are cores for (--threads each, default 1).\n"
                 "\n"
                 "On an existing folder it goes on: what is done stays, what was interrupted is trained again. A member that dies is repeated "
                 "alone. At the end the members are combined and report.html is written; ballast ensemble calibrate RUN adds a temperature.",
        .examples =
            {
                {"five members, your own pictures", "ballast ensemble train --out runs/ens --data photos/ --members 5"},
                {"other architectures", "ballast ensemble train --out runs/mixed --members 3 --vary model.name=resnet20,lenet,wide_resnet"},
                {"other learning rates, two at a time", "ballast ensemble train --out runs/rates --vary optim.lr=0.05,0.1,0.2 --members 3 --jobs 2"},
            },
    };
  }
  OptionTable* sections() override { return &table_; }
  std::string foreign(std::string_view flag) const override { return foreign_flag(flag); }
  int run(const Session& session, const Arguments& arguments) override {
    load_run_options(options_, table_, config_, arguments);
    if (options_.run.out.empty()) usage_error("--out FOLDER is required: the ensemble's folder");
    const fs::path folder = options_.run.out;
    EnsemblePlan plan;
    plan.seed = options_.run.seed;
    plan.threads = options_.run.threads.value_or(1);
    for (const OptionRow& row : table_.rows()) {
      const bool own = row.key == "run.out" || row.key == "run.seed" || row.key == "run.threads" || row.key == "run.name";
      if (!own && row.origin != "default") plan.common.emplace_back(row.key, row.plain());
    }
    plan_members(plan, flags_.members, flags_.vary, flags_.vary_mode);
    check_recipes(plan);
    make_folders(folder / "members");
    const FileLock lock(folder / ".lock", "ballast ensemble train");
    if (has_plan(folder)) {
      EnsemblePlan kept = read_plan(folder);
      std::vector<PlannedMember> same;
      for (const PlannedMember& m : kept.members) {
        if (!m.adopted && static_cast<int64_t>(same.size()) < flags_.members) same.push_back(m);
      }
      const bool equal = kept.seed == plan.seed && kept.common == plan.common && same.size() == plan.members.size() &&
          std::ranges::equal(same, plan.members, [](const PlannedMember& a, const PlannedMember& b) { return a.id == b.id && a.recipe == b.recipe; });
      if (!equal) {
        fail("ensemble", folder.string(), " holds an ensemble of other options; give another --out, or ballast ensemble add ", folder.string(), " --members N for more members");
      }
      check(kept.threads == plan.threads, "ensemble", "members have ", kept.threads, " threads in this folder, got ", plan.threads);
      plan = std::move(kept);
    } else {
      write_plan(folder, plan);
    }
    return train_and_finish(session, folder, plan, flags_);
  }

  /// Keys and values of what varies, checked before anything is trained.
  void check_recipes(const EnsemblePlan& plan) {
    for (const PlannedMember& m : plan.members) {
      for (const auto& [key, value] : m.recipe) {
        RunOptions copy = options_;
        OptionTable table = option_table(copy);
        const std::string error = table.set(key, OptionValue::from_text(value), "--vary");
        if (!error.empty()) usage_error("--vary: " + error);
      }
    }
  }

 private:
  RunOptions options_;
  OptionTable table_;
  TrainFlags flags_;
  ConfigFlags config_;
};

struct AddFlags : TrainFlags {
  AddFlags() { members = 1; }
};

class EnsembleAddCommand : public Command {
 public:
  EnsembleAddCommand() { own_.add("ensemble", static_cast<TrainFlags&>(flags_)); }
  CommandText text() const override {
    return {
        .name = "ensemble add",
        .summary = "train more members of an ensemble",
        .operands = "RUN",
        .about = "Appends members with the ensemble's options and new numbers; five and two more are the seven that seven at once would be.",
        .examples = {{"two more", "ballast ensemble add runs/ens --members 2"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 1}; }
  int run(const Session& session, const Arguments& arguments) override {
    const fs::path folder = arguments.operands[0];
    EnsemblePlan plan = read_plan(folder);
    const FileLock lock(folder / ".lock", "ballast ensemble add");
    plan_members(plan, flags_.members, flags_.vary, flags_.vary_mode);
    write_plan(folder, plan);
    return train_and_finish(session, folder, plan, flags_);
  }

 private:
  AddFlags flags_;
};

class EnsembleAdoptCommand : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "ensemble adopt",
        .summary = "take finished runs into an ensemble",
        .operands = "RUN MEMBER...",
        .about = "MEMBER is the folder of a run; it stays where it is. Its classes must be those of the others. The rule is made anew by ballast "
                 "ensemble combine RUN.",
        .examples = {{"a run that was trained alone", "ballast ensemble adopt runs/ens runs/photos-resnet18-1"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {2, 10'000}; }
  int run(const Session& session, const Arguments& arguments) override {
    const fs::path folder = arguments.operands[0];
    EnsemblePlan plan;
    if (has_plan(folder)) plan = read_plan(folder);
    make_folders(folder);
    const FileLock lock(folder / ".lock", "ballast ensemble adopt");
    for (size_t i = 1; i < arguments.operands.size(); ++i) {
      const fs::path run = fs::absolute(arguments.operands[i]).lexically_normal();
      std::error_code error;
      check<DataError>(fs::exists(run / "predictions" / "test.safetensors", error), "adopt", arguments.operands[i], ": no finished run: there is no predictions/test.safetensors in it");
      PlannedMember m;
      for (const PlannedMember& other : plan.members) {
        m.id = std::max(m.id, other.id + 1);
        check(fs::weakly_canonical(member_folder(folder, other), error) != fs::weakly_canonical(run, error), "adopt", arguments.operands[i], " is member ", other.id, " already");
      }
      m.folder = run.string();
      m.adopted = true;
      m.name = run.filename().empty() ? run.parent_path().filename().string() : run.filename().string();
      plan.members.push_back(m);
      session.note("member " + std::to_string(m.id) + ": " + m.name);
    }
    write_plan(folder, plan);
    remove_file(folder / "ensemble.json");
    return kDone;
  }
};

class EnsembleRetireCommand : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "ensemble retire",
        .summary = "leave members out; their files stay",
        .operands = "RUN NUMBER...",
        .about = "The number is not used again. The rule is made anew by ballast ensemble combine RUN.",
        .examples = {{"without member 4", "ballast ensemble retire runs/ens 4"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {2, 10'000}; }
  int run(const Session&, const Arguments& arguments) override {
    const fs::path folder = arguments.operands[0];
    EnsemblePlan plan = read_plan(folder);
    const FileLock lock(folder / ".lock", "ballast ensemble retire");
    for (size_t i = 1; i < arguments.operands.size(); ++i) {
      const auto at = std::ranges::find_if(plan.members, [&](const PlannedMember& m) { return std::to_string(m.id) == arguments.operands[i]; });
      check(at != plan.members.end(), "ensemble", "no member has the number ", arguments.operands[i]);
      at->retired = true;
    }
    write_plan(folder, plan);
    remove_file(folder / "ensemble.json");
    return kDone;
  }
};

class EnsembleStatusCommand : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "ensemble status",
        .summary = "members of an ensemble: done, missing, retired",
        .operands = "RUN",
        .about = "",
        .examples = {{"how far is it?", "ballast ensemble status runs/ens"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 1}; }
  int run(const Session& session, const Arguments& arguments) override {
    const fs::path folder = arguments.operands[0];
    const EnsemblePlan plan = read_plan(folder);
    const auto done = done_members(folder, plan);
    Table table({{"member", Table::Align::left}, {"state", Table::Align::left}, {"seed", Table::Align::right}, {"folder", Table::Align::left}});
    nlohmann::ordered_json document = nlohmann::ordered_json::array();
    for (const PlannedMember& m : plan.members) {
      const std::string state = m.retired ? "retired" : std::ranges::count(done, m.id) > 0 ? (m.adopted ? "adopted" : "done") : "missing";
      table.row({m.name, state, m.adopted ? "" : std::to_string(m.seed), m.folder});
      document.push_back({{"id", m.id}, {"name", m.name}, {"state", state}, {"folder", m.folder}});
    }
    session.print(table.text());
    session.document({{"members", document}});
    return kDone;
  }
};

}  // namespace

std::unique_ptr<Command> make_ensemble_train_command() { return std::make_unique<EnsembleTrainCommand>(); }
std::unique_ptr<Command> make_ensemble_add_command() { return std::make_unique<EnsembleAddCommand>(); }
std::unique_ptr<Command> make_ensemble_adopt_command() { return std::make_unique<EnsembleAdoptCommand>(); }
std::unique_ptr<Command> make_ensemble_retire_command() { return std::make_unique<EnsembleRetireCommand>(); }
std::unique_ptr<Command> make_ensemble_status_command() { return std::make_unique<EnsembleStatusCommand>(); }

}  // namespace ballast::cli
