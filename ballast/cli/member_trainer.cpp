#include "member_trainer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <exception>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>

#include <ballast/base/check.h>
#include <ballast/base/config_file.h>
#include <ballast/base/cpu.h>
#include <ballast/io/jsonl.h>
#include <ballast/report/table.h>
#include <ballast/train/run_options.h>

#include "child_process.h"

namespace ballast::cli {
namespace {

namespace fs = std::filesystem;

constexpr double kLower = 0.3;
constexpr int64_t kMostLowered = 3;

/// One net to train: a member, or one fold of it.
struct Net {
  PlannedMember* member = nullptr;
  int64_t fold = 0;
  fs::path run;
  std::string name;
  int64_t attempts = 0;
};

std::string shortest_text(double value) {
  std::array<char, 32> buffer{};
  return {buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr};
}

/// How the run there ended, or "" if it has not.
std::string ended_as(const fs::path& run) {
  std::error_code error;
  const fs::path file = run / "result.json";
  if (!fs::exists(file, error)) return "";
  return parse_json(read_text_file(file, 1 << 26), file.string()).string_or("reason", "");
}

std::string common_toml(const TrainingPlan& plan) {
  std::string out, section;
  for (const auto& [key, value] : plan.common) {
    const std::string here = key.substr(0, key.find('.'));
    if (here != section) out += (section.empty() ? "[" : "\n[") + here + "]\n";
    section = here;
    out += key.substr(here.size() + 1) + " = " + value + "\n";
  }
  return out;
}

class MemberTrainer {
 public:
  MemberTrainer(const Session& session, const fs::path& folder, EnsemblePlan& plan,
                const MemberTrainerOptions& options)
      : session_(session),
        folder_(folder),
        plan_(plan),
        training_(plan.training.value()),
        options_(options),
        events_(folder / "events.jsonl") {
    for (PlannedMember& m : plan.members) {
      if (!m.seed || m.retired) continue;
      const auto runs = member_runs(folder, m);
      for (size_t f = 0; f < runs.size(); ++f) {
        std::string how = ended_as(runs[f]);
        const bool diverged = how == "diverged" || how == "non_finite";
        if (diverged && (has_other_rate(runs[f], m) || lower_rate(m, runs[f]))) how = "";
        if (how == "diverged" || how == "non_finite") {
          lose(m.id, "member " + m.name + " is lost: it " +
                         (how == "diverged" ? "diverged" : "became non-finite"));
        } else if (how.empty()) {
          left_.push_back({&m, static_cast<int64_t>(f), runs[f],
                           m.folds == 0 ? m.name : m.name + " fold " + std::to_string(f), 0});
        }
      }
    }
  }

  void run() {
    const auto t = static_cast<int>(training_.threads);
    int64_t jobs = options_.jobs > 0 ? options_.jobs : std::max(1, usable_cores() / t);
    jobs = std::clamp<int64_t>(jobs, 1, std::max<int64_t>(1, static_cast<int64_t>(left_.size())));
    if (!left_.empty()) {
      session_.note(format_count(static_cast<int64_t>(left_.size())) + " nets to train, " +
                    std::to_string(jobs) + " at a time, " + std::to_string(t) +
                    (t == 1 ? " thread each" : " threads each"));
    }
    write_file_atomic(folder_ / "common.toml", common_toml(training_));
    const std::vector<int> cores = allowed_cores();
    std::vector<std::thread> threads;
    for (int64_t job = 0; job < jobs && !left_.empty(); ++job) {
      std::vector<int> own;  // its own cores, if there are enough for all
      for (int64_t c = 0; c < t && static_cast<int64_t>(cores.size()) >= jobs * t; ++c) {
        own.push_back(cores[static_cast<size_t>(job * t + c)]);
      }
      threads.emplace_back([this, own] { work(own); });
    }
    for (std::thread& thread : threads) thread.join();
    while (!again_.empty() && session_.stop_signal() == 0 && error_ == nullptr) {
      left_ = {again_.front()};
      again_.erase(again_.begin());
      next_ = 0;
      work({});
    }
    events_.close();
    if (error_ != nullptr) std::rethrow_exception(error_);
  }

  const std::vector<int64_t>& lost() const { return lost_; }
  const std::vector<std::string>& lost_why() const { return why_; }

 private:
  /// The options of the run there, with the member's recipe; nothing if there is none yet.
  static std::optional<RunOptions> options_of(const fs::path& run) {
    const fs::path config = run / "config.toml";
    std::error_code error;
    if (!fs::exists(config, error)) return {};
    RunOptions out;
    OptionTable table = option_table(out);
    apply_toml(table, read_text_file(config, 1 << 26), config.string());
    return out;
  }
  /// The run there is one from before the member's rate was cut.
  static bool has_other_rate(const fs::path& run, const PlannedMember& m) {
    if (m.lowered == 0) return false;
    const std::optional<RunOptions> there = options_of(run);
    RunOptions wanted;
    OptionTable table = option_table(wanted);
    for (const auto& [key, value] : m.recipe) {
      if (key == "optim.lr") table.set(key, OptionValue::from_text(value), "");
    }
    return there && *there->optim.lr != *wanted.optim.lr;
  }
  /// Gives a member that diverged another rate, in the plan. False: it is not to have one.
  bool lower_rate(PlannedMember& m, const fs::path& run) {
    const std::optional<RunOptions> there = options_of(run);
    if (!options_.lower_lr || m.folds > 0 || m.lowered >= kMostLowered || !there ||
        there->optim.lr.is_auto())
      return false;
    const std::string lr = shortest_text(kLower * *there->optim.lr);
    const auto at =
        std::ranges::find(m.recipe, "optim.lr", &std::pair<std::string, std::string>::first);
    if (at == m.recipe.end()) {
      m.recipe.emplace_back("optim.lr", lr);
    } else {
      at->second = lr;
    }
    ++m.lowered;
    m.lost = false;
    write_plan(folder_, plan_);
    session_.note("member " + m.name + " diverged: it begins anew with --lr " + lr);
    return true;
  }

  void lose(int64_t id, std::string why) {
    if (std::ranges::count(lost_, id) == 0) lost_.push_back(id);
    why_.push_back(std::move(why));
  }

  void event(const char* kind, const Net& net, const ChildEnd* end) {
    JsonValue row = JsonValue::object();
    row["kind"] = kind;
    row["member"] = net.member->id;
    if (net.member->folds > 0) row["fold"] = net.fold;
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
      Net net;
      {
        const std::lock_guard lock(mutex_);
        if (next_ >= left_.size() || error_ != nullptr) return;
        net = left_[next_++];
      }
      try {
        train(net, cores);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        error_ = std::current_exception();
      }
    }
  }

  ChildOptions child(const Net& net, const std::vector<int>& cores) const {
    const PlannedMember& m = *net.member;
    ChildOptions out{
        .words = {"train", "--config", (folder_ / "common.toml").string()},
        .log = fs::path(net.run).concat(".log"),
        .threads = static_cast<int>(training_.threads),
        .cores = cores,
        .passes =
            [this](std::string_view name) {
              return std::ranges::count(options_.without, name) == 0;
            },
    };
    const auto set = [&](const std::string& key, const std::string& value) {
      out.words.push_back("--" + key + "=" + value);
    };
    for (const auto& [key, value] : m.recipe) set(key, value);
    for (const std::string& kind : training_.share)
      set("run." + kind + "_seed", std::to_string(training_.seed));
    if (has_other_rate(net.run, m)) set("run.overwrite", "true");
    set("run.seed", std::to_string(net_seed(m, net.fold)));
    set("data.split.seed", std::to_string(training_.seed));
    set("data.bag", m.folds == 0
                        ? training_.bag
                        : "fold:" + std::to_string(net.fold) + "/" + std::to_string(m.folds));
    set("run.threads", std::to_string(training_.threads));
    set("run.out", net.run.string());
    set("progress", "plain");
    return out;
  }

  /// Where this command is to stop, the child is asked to, and its end awaited.
  ChildEnd run_child(const ChildOptions& options) const {
    ChildProcess child(options);
    std::optional<ChildEnd> end = child.wait([this] { return session_.stop_signal() != 0; });
    if (!end) {
      child.stop();
      end = child.wait([] { return false; });
    }
    return *end;
  }

  void train(Net net, const std::vector<int>& cores) {
    ChildOptions options;
    {
      const std::lock_guard lock(mutex_);
      options = child(net, cores);
    }
    make_folders(options.log.parent_path());
    {
      const std::lock_guard lock(mutex_);
      event("started", net, nullptr);
    }
    ChildEnd end = run_child(options);
    // The child of a command that was killed may be saving still.
    for (int i = 0; end.code == kInUse && i < 60 && session_.stop_signal() == 0; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
      end = run_child(options);
    }
    const std::lock_guard lock(mutex_);
    if (end.code == kDone) {
      event("done", net, &end);
      session_.note("member " + net.name + " done in " + format_duration(end.seconds));
      return;
    }
    if (session_.stop_signal() != 0) {
      event("interrupted", net, &end);
      return;
    }
    event(end.code == kNonFinite ? "diverged" : "failed", net, &end);
    if (end.code == kNonFinite && lower_rate(*net.member, net.run)) {
      again_.push_back(net);
      return;
    }
    const std::string how = end.signal != 0 ? "ended by signal " + std::to_string(end.signal)
                                            : "exit code " + std::to_string(end.code);
    // Wrong words and data are wrong for ever, and so is a loss that grows.
    if (end.code == kUsage || end.code == kData || end.code == kNonFinite ||
        net.attempts >= options_.retries) {
      lose(net.member->id, "member " + net.name + " is lost (" + how + "): " + end.last_line);
      return;
    }
    session_.note("member " + net.name + ": " + how +
                  "; it goes on alone when the others are done");
    ++net.attempts;
    again_.push_back(net);
  }

  const Session& session_;
  fs::path folder_;
  EnsemblePlan& plan_;
  const TrainingPlan& training_;
  const MemberTrainerOptions& options_;
  std::mutex mutex_;
  JsonlWriter events_;
  std::vector<Net> left_, again_;
  size_t next_ = 0;
  std::vector<int64_t> lost_;
  std::vector<std::string> why_;
  std::exception_ptr error_;
};

}  // namespace

int train_members(const Session& session, const fs::path& folder, EnsemblePlan& plan,
                  const MemberTrainerOptions& options) {
  std::vector<int64_t> lost;
  {
    MemberTrainer trainer(session, folder, plan, options);
    trainer.run();
    lost = trainer.lost();
    for (const std::string& text : trainer.lost_why()) session.warn(text);
  }
  if (session.stop_signal() != 0) return exit_code_of_signal(session.stop_signal());
  bool changed = false;
  for (PlannedMember& m : plan.members) {
    const bool now = std::ranges::count(lost, m.id) > 0;
    changed = changed || now != m.lost;
    m.lost = now;
  }
  if (changed) write_plan(folder, plan);
  int64_t ready = 0, asked = 0;
  for (const PlannedMember& m : plan.members) {
    if (m.retired) continue;
    ++asked;
    ready += m.lost ? 0 : 1;
  }
  if (ready < std::min(options.min_members, asked)) {
    session.warn("only " + std::to_string(ready) + " of " + std::to_string(asked) +
                 " members are trained, --min-members is " + std::to_string(options.min_members));
    return kNonFinite;
  }
  return kDone;
}

}  // namespace ballast::cli
