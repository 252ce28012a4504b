#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <utility>

#include <ballast/base/check.h>
#include <ballast/base/key.h>
#include <ballast/io/file.h>
#include <ballast/io/json.h>
#include <ballast/io/jsonl.h>
#include <ballast/report/table.h>

#include "child_process.h"
#include "command.h"
#include "find_run.h"
#include "run_config.h"
#include "run_difference.h"

namespace ballast::cli {
namespace {

namespace stdfs = std::filesystem;
using nlohmann::ordered_json;

struct VerifyFlags {
  int64_t steps = 60;
  int64_t kills = 5;
  std::vector<int64_t> workers = {0, 1, 4};
  uint64_t kill_seed = 0;
  std::string keep;
};
template <class Visitor>
void describe(Visitor& visit, VerifyFlags& o) {
  visit("steps", o.steps, {.help = "steps of each short run, about", .flags = "--steps", .range = between(4, 100000)});
  visit("kills", o.kills, {.help = "how often the interrupted run is killed", .flags = "--kills", .range = between(0, 1000)});
  visit("try_workers", o.workers, {.help = "numbers of loader threads to try", .flags = "--try-workers", .range = between(0, 256),
                               .value_name = "N,N,..."});
  visit("kill_seed", o.kill_seed, {.help = "decides the moments of the kills", .flags = "--kill-seed"});
  visit("keep", o.keep, {.help = "keep the short runs in this folder, which must not exist", .flags = "--keep", .value_name = "DIR"});
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// A folder that is removed with everything in it, unless it is to be kept.
class WorkFolder {
 public:
  explicit WorkFolder(const std::string& keep) : keep_(!keep.empty()) {
    if (keep_) {
      check(!stdfs::exists(keep), "verify", "--keep must name a folder that does not exist, got ", keep);
      path_ = keep;
      make_folders(path_);
      return;
    }
    std::string name = (stdfs::temp_directory_path() / "ballast-verify-XXXXXX").string();
    check<DataError>(mkdtemp(name.data()) != nullptr, "verify", "cannot make the folder ", name);
    path_ = name;
  }
  ~WorkFolder() {
    std::error_code ignored;
    if (!keep_) {
      stdfs::remove_all(path_, ignored);
    }
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  const stdfs::path& path() const { return path_; }
  void keep() { keep_ = true; }

 private:
  stdfs::path path_;
  bool keep_;
};

/// What the record of a run shows from outside while it is trained.
class Watched {
 public:
  explicit Watched(const stdfs::path& run) : run_(run) {}
  /// The step of the last whole row of this kind, at most; -1: none.
  int64_t last(const std::string& kind) const {
    std::error_code error;
    if (!stdfs::exists(run_ / "metrics.jsonl", error)) {
      return -1;
    }
    int64_t step = -1;
    try {
      for (const JsonValue& row : read_jsonl(run_ / "metrics.jsonl").rows) {
        if (row.string_or("kind", "") == kind) {
          step = static_cast<int64_t>(row.number_or("step", -1));
        }
      }
    } catch (const std::exception&) {  // it is being cut
    }
    return step;
  }
  bool saving() const {
    std::error_code error;
    for (stdfs::directory_iterator it(run_ / "checkpoints", error), end; !error && it != end; it.increment(error)) {
      if (it->path().filename().string().starts_with(".tmp-step")) {
        return true;
      }
    }
    return false;
  }

 private:
  stdfs::path run_;
};

/// One moment of a kill: in this phase, not before this step.
struct Moment {
  std::string phase;  ///< start, step, save, check, epoch
  int64_t step = 0;
};

/// Moments over a run of `steps` steps in two epochs, with checks at a third and two thirds: one of each phase, then more steps and
/// saves, in the order of the run.
std::vector<Moment> moments(int64_t kills, int64_t steps, Key key) {
  const std::vector<std::string> phases = {"step", "save", "check", "epoch", "start"};
  std::vector<Moment> out;
  for (int64_t i = 0; i < kills; ++i) {
    const uint64_t draw = slot_below(key, static_cast<uint32_t>(i), static_cast<uint64_t>(std::max<int64_t>(1, steps * 9 / 10)));
    Moment m{i < 5 ? phases[static_cast<size_t>(i)] : i % 2 == 0 ? "save" : "step", static_cast<int64_t>(draw)};
    if (m.phase == "check") {
      m.step = steps / 3;
    } else if (m.phase == "epoch") {
      m.step = steps / 2;
    } else if (m.phase == "start") {
      m.step = -1;
    }
    out.push_back(m);
  }
  std::ranges::stable_sort(out, {}, &Moment::step);
  return out;
}

class VerifyCommand : public Command {
 public:
  VerifyCommand() : table_(option_table(options_)) {
    own_.add("verify", flags_);
    own_.add("verify", config_);
  }
  CommandText text() const override {
    return {
        .name = "verify",
        .summary = "prove that your configuration can be killed and goes on with the same bits",
        .operands = "[RUN|CONFIG]",
        .about = "Trains a short run of this configuration (two epochs of a few steps, with its model, data, techniques and checks), "
                 "then the same under kill -9 in the middle of a step, a save, a check, between two epochs and while it starts, "
                 "each time continued by the same command, then with other numbers of loader threads. All must leave the same bytes: "
                 "weights, optimizer, averages, state, record, predictions. The first difference is named.\n"
                 "\n"
                 "RUN is a run's folder or name, CONFIG a TOML file; flags of train change the configuration; without either it is the "
                 "default recipe. The moments of the kills are drawn from --kill-seed.\n"
                 "\n"
                 "Exit code 0: all equal. 5: not.",
        .examples =
            {
                {"the default recipe", "ballast verify"},
                {"a run that you have", "ballast verify runs/photos-resnet18-1"},
                {"a configuration before a long run", "ballast verify recipe.toml --model-ema 2ep --kills 10"},
            },
    };
  }
  OptionTable* sections() override { return &table_; }
  std::string foreign(std::string_view flag) const override { return foreign_flag(flag); }
  std::pair<size_t, size_t> operands() const override { return {0, 1}; }

  int run(const Session& session, const Arguments& arguments) override {
    session_ = &session;
    try {
      return verify(arguments);
    } catch (const Interrupted&) {
      return exit_code_of_signal(session.stop_signal());
    }
  }

 private:
  struct Interrupted : std::runtime_error {
    Interrupted() : std::runtime_error("[verify] stopped") {}
  };

  int verify(const Arguments& arguments) {
    const Session& session = *session_;
    const double begin = now();
    load(arguments);
    WorkFolder work(flags_.keep);
    work_ = &work;
    const int64_t steps = shorten();
    write_file_atomic(work.path() / "config.toml", config_text(options_));

    ordered_json parts = ordered_json::array();
    Table table({{"run", Table::Align::left}, {"kills", Table::Align::right}, {"files", Table::Align::right},
                 {"result", Table::Align::left}});
    session.note("verify: an unbroken run of " + std::to_string(steps) + " steps");
    const double start = now();
    whole_run("whole", {});
    const double seconds = now() - start;
    const size_t files = repeatable_files(work.path() / "whole").size();
    table.row({"unbroken", "", format_count(static_cast<int64_t>(files)), format_duration(seconds)});
    bool equal = true;
    const auto compare = [&](const std::string& name, const std::string& title, int64_t kills) {
      const std::vector<FileDifference> d = run_differences(work.path() / "whole", work.path() / name);
      equal = equal && d.empty();
      std::string text = "equal byte for byte";
      ordered_json part = {{"run", title}, {"kills", kills}, {"files", files}, {"equal", d.empty()}};
      if (!d.empty()) {
        text = "differs: " + d.front().file + ", " + d.front().place + (d.front().a.empty() ? "" : ": " + d.front().a + " | " + d.front().b);
        part["first"] = {{"file", d.front().file}, {"place", d.front().place}, {"a", d.front().a}, {"b", d.front().b}};
      }
      table.row({title, std::to_string(kills), format_count(static_cast<int64_t>(files)), text});
      parts.push_back(part);
    };
    if (flags_.kills > 0) {
      const int64_t kills = killed_run(steps, seconds);
      compare("killed", "killed and continued", kills);
    }
    for (const int64_t n : flags_.workers) {
      const std::string name = "workers-" + std::to_string(n);
      session.note("verify: the same with " + std::to_string(n) + " loader threads");
      whole_run(name, {"--workers", std::to_string(n)});
      compare(name, std::to_string(n) + " loader threads", 0);
    }
    std::string text = table.text();
    for (const std::string& line : told_) {
      text += line + "\n";
    }
    text += equal ? "verified in " + format_duration(now() - begin) + ": this configuration goes on with the same bits\n"
                  : "NOT the same bits; the runs are in " + work.path().string() + "\n";
    if (!equal) {
      work.keep();
    }
    session.print(text);
    session.document({{"same", equal}, {"steps", steps}, {"seconds", now() - begin}, {"runs", parts}, {"kills", told_json_}});
    return equal ? kDone : kDamage;
  }

  void load(const Arguments& arguments) {
    if (!arguments.operands.empty()) {
      const std::string& what = arguments.operands[0];
      std::error_code error;
      const bool file = stdfs::is_regular_file(what, error);
      config_.config.insert(config_.config.begin(), file ? what : (find_run(what) / "config.toml").string());
    }
    load_run_options(options_, table_, config_, arguments);
    check(options_.math.level != "fast", "verify", "math.level must promise bits: repeatable or portable, got fast");
  }

  /// Makes the run short: two epochs of so many pictures that they have the wanted steps. Returns the number of steps.
  int64_t shorten() {
    RunOptions& o = options_;
    o.run.name.clear();
    o.run.out.clear();
    o.run.overwrite = false;
    o.run.max_time.reset();
    o.run.session_time.reset();
    const int64_t each = std::max<int64_t>(2, flags_.steps / 2);
    const int64_t wanted = each * o.train.batch_size;
    if (!o.data.limit || *o.data.limit > wanted) {
      o.data.limit = wanted;
    }
    o.train.epochs = Auto<int64_t>(2);
    int64_t steps = steps_of_dry_run();
    if (steps < flags_.steps) {  // few pictures: more epochs
      o.train.epochs = Auto<int64_t>(2 * ((flags_.steps + steps - 1) / steps));
      steps = steps / 2 * *o.train.epochs;
    }
    o.eval.every = {static_cast<double>(std::max<int64_t>(1, steps / 3)), Duration::Unit::steps};
    o.save.every = {static_cast<double>(std::max<int64_t>(1, steps / 8)), Duration::Unit::steps};
    o.log.every = {1, Duration::Unit::steps};
    o.log.tensorboard = false;
    return steps;
  }

  int64_t steps_of_dry_run() {
    write_file_atomic(work_->path() / "config.toml", config_text(options_));
    ChildProcess child(train({"train", "--config", (work_->path() / "config.toml").string(), "--dry-run", "--json", "--quiet"}));
    finish(child);
    const std::string& text = child.output();
    const size_t brace = text.find("\n{") == std::string::npos ? text.find('{') : text.find("\n{") + 1;
    check<DataError>(brace != std::string::npos, "verify", "the plan must be JSON, got ", text.substr(0, 200));
    const JsonValue plan = parse_json(std::string_view(text).substr(brace, text.rfind('}') + 1 - brace), "plan").at("plan");
    return plan.at("steps").integer();
  }

  std::vector<std::string> words(const std::string& name, const std::vector<std::string>& more) const {
    std::vector<std::string> out = {"train", "--config", (work_->path() / "config.toml").string(), "--out",
                                    (work_->path() / name).string(), "--progress", "none", "--quiet"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }

  bool stopped() const { return session_->stop_signal() != 0; }

  /// The arguments say all: variables BALLAST_* are not handed on.
  static ChildOptions train(std::vector<std::string> words) {
    return {.words = std::move(words),
            .passes = [](std::string_view name) { return !name.starts_with("BALLAST_") || name.starts_with("BALLAST_FORCE_"); },
            .tick = std::chrono::milliseconds(1)};
  }

  /// Waits for the end of a run that must go well.
  void finish(ChildProcess& child) {
    const std::optional<ChildEnd> end = child.wait([this] { return stopped(); });
    if (!end) {
      throw Interrupted{};
    }
    const std::string& line = end->last_line;
    check<std::runtime_error>(end->code == 0, "verify", "the short run must end well, got ", end->text(), ": ",
                              line.starts_with("ballast: ") ? line.substr(9) : line);
  }

  void whole_run(const std::string& name, const std::vector<std::string>& more) {
    ChildProcess child(train(words(name, more)));
    finish(child);
  }

  /// Waits for the moment, then a little into what happens there, and kills. False: the run ended before.
  bool kill_at(ChildProcess& child, const Moment& m, double share, double seconds) {
    const Watched watched(work_->path() / "killed");
    const double begin = now();
    double look = begin;
    const auto here = [&] {
      if (m.phase == "start") {
        return now() - begin > share * std::min(2.0, seconds / 4);
      }
      if (m.phase == "save") {
        return watched.saving() && watched.last("train") >= m.step;
      }
      if (now() < look) {
        return false;
      }
      look = now() + 0.004;  // the record is read as a whole
      return watched.last("train") >= std::max<int64_t>(1, m.step);
    };
    if (!child.wait([&] { return stopped() || here(); }) && m.phase != "start") {
      const double most = m.phase == "save" ? 0.004 : m.phase == "check" ? 0.05 : 0.02;
      std::this_thread::sleep_for(std::chrono::duration<double>(share * most));
    }
    return child.kill();
  }

  /// Trains under kills until it has ended. The number of kills.
  int64_t killed_run(int64_t steps, double seconds) {
    const Key key = Key(flags_.kill_seed).fold_in("verify");
    int64_t kills = 0;
    uint32_t i = 0;
    for (const Moment& m : moments(flags_.kills, steps, key)) {
      const uint32_t draw = i++;
      session_->note("verify: kill " + std::to_string(draw + 1) + " of " + std::to_string(flags_.kills) + ", in the phase " + m.phase);
      ChildProcess child(train(words("killed", {})));
      const bool killed = kill_at(child, m, slot_uniform(key, draw, 1), seconds);
      if (stopped()) {
        throw Interrupted{};
      }
      if (!killed) {
        finish(child);
        break;
      }
      ++kills;
      const Watched watched(work_->path() / "killed");
      const int64_t at = watched.last("train");
      const bool torn = watched.saving();
      told_.push_back("kill " + std::to_string(kills) + ": " + m.phase + ", at step " + std::to_string(std::max<int64_t>(at, 0)) +
                      (torn ? ", while a checkpoint was being written" : ""));
      told_json_.push_back({{"phase", m.phase}, {"step", std::max<int64_t>(at, 0)}, {"in_save", torn}});
    }
    whole_run("killed", {});
    return kills;
  }

  const Session* session_ = nullptr;
  WorkFolder* work_ = nullptr;
  RunOptions options_;
  OptionTable table_;
  VerifyFlags flags_;
  ConfigFlags config_;
  std::vector<std::string> told_;
  ordered_json told_json_ = ordered_json::array();
};

}  // namespace

std::unique_ptr<Command> make_verify_command() { return std::make_unique<VerifyCommand>(); }

}  // namespace ballast::cli
