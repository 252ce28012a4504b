#include <ballast/train/run.h>

#include <unistd.h>

#include <algorithm>

#include <ballast/base/check.h>
#include <ballast/base/version.h>
#include <ballast/control/budget.h>
#include <ballast/control/stop_reason.h>
#include <ballast/train/machine.h>
#include <ballast/train/nonfinite_report.h>
#include <ballast/train/pretrained.h>
#include <ballast/train/resume.h>
#include <ballast/train/run_check.h>
#include <ballast/train/run_checkpoint.h>
#include <ballast/train/run_context.h>
#include <ballast/train/run_end.h>
#include <ballast/train/run_plan.h>
#include <ballast/train/step_log.h>
#include <ballast/train/tensor_batch.h>

namespace ballast {
namespace {

void begin_record(RunContext& run) {
  const RunOptions& o = run.setup.options;
  run.folder->write("config.toml", config_text(o));
  run.record = std::make_unique<RunRecord>(*run.folder, o.log.tensorboard);
  run.folder->write("env.json", environment_json(run.plan).text(2) + "\n");
  run.folder->write("split.csv", run.setup.data.split_csv());
  if (!run.plan.start.path.empty()) {
    run.folder->write("pretrained.json", start_json(run.plan.start).text(2) + "\n");
  }
  run.record->event("start", 0, "process " + std::to_string(getpid()));
  run.record->event("init", 0, run.plan.init);
  JsonValue row = JsonValue::object();
  row["kind"] = "run";
  row["version"] = version();
  row["seed"] = o.run.seed;
  row["steps_per_epoch"] = run.setup.steps_per_epoch;
  row["T"] = run.setup.total_steps;
  row["classes"] = run.setup.data.classes;
  row["fingerprint"] = run.plan.fingerprint;
  row["data_digest"] = run.setup.data.split_digest();
  if (run.teacher) {
    row["teacher"] = run.teacher->digest();
  }
  run.record->metrics(row);
}

/// The loop over steps.
class Training {
 public:
  Training(RunContext& run, StepLog& log, RunChecks& checks, RunCheckpoints& checkpoints)
      : run_(run), log_(log), checks_(checks), checkpoints_(checkpoints) {}

  /// Trains to the end, or until something stops it.
  StopReason train(bool check_pending) {
    check_pending_ = check_pending;
    if (check_pending) {
      if (const std::optional<StopReason> reason = check_and_save()) {
        return *reason;
      }
    }
    const int64_t in_epoch = run_.setup.steps_per_epoch;
    int64_t rollbacks = run_.rollbacks;
    if (run_.setup.options.train.on_nonfinite == "rollback" && run_.trainer->steps() == 0) {
      checkpoints_.save_now({});  // a rollback needs something to go back to
    }
    while (run_.trainer->steps() < run_.setup.total_steps) {
      const int64_t t = run_.trainer->steps();
      run_.loader->start_epoch(t / in_epoch, t % in_epoch);
      for (;;) {
        const double begin = seconds_now();
        const BatchSlot* slot = run_.loader->next();
        if (slot == nullptr) {
          break;
        }
        log_.add_data_time(seconds_now() - begin);
        log_.begin_watch();
        const StepResult result = step(*slot);
        if (result.finite) {
          log_.after_step(result, *slot);
        } else if (not_finite(result, *slot)) {
          break;  // rolled back: the epoch's order begins at another place
        }
        if (const std::optional<StopReason> reason = between_steps()) {
          return *reason;
        }
      }
      if (run_.rollbacks > rollbacks) {
        rollbacks = run_.rollbacks;
        if (const std::optional<StopReason> reason = check_pending_ ? check_and_save() : std::nullopt) {
          return *reason;
        }
      }
    }
    return StopReason::completed;
  }
  /// The check that is due after the last step was not made.
  bool check_pending() const { return check_pending_; }

 private:
  StepResult step(const BatchSlot& slot) {
    const TensorBatch batch = tensor_batch(slot);
    if (run_.drops) {
      run_.drops->at(static_cast<double>(run_.trainer->steps()) / static_cast<double>(run_.setup.total_steps));
    }
    if (detail::spoil_batch()) {
      torch::Tensor x = batch.x;
      detail::spoil_batch()(x, run_.trainer->steps(), run_.rollbacks);
    }
    const StepResult result = run_.trainer->step(batch.x, batch.y, batch.partner, batch.lam);
    if (!result.finite) {
      return result;
    }
    run_.skips = 0;
    if (run_.ema) {
      run_.ema->update();
    }
    const int64_t t = run_.trainer->steps();
    if (run_.swa && t > run_.setup.swa_from && t % run_.setup.steps_per_epoch == 0) {
      run_.swa->update();
    }
    return result;
  }

  // What train.on_nonfinite wants. True: the run went back to a checkpoint.
  bool not_finite(const StepResult& result, const BatchSlot& slot) {
    const std::string what = report_non_finite(run_, log_, result, slot);
    const std::string& policy = run_.setup.options.train.on_nonfinite;
    const int64_t step = run_.trainer->steps();
    if (policy == "skip" && run_.skips + 1 < kMostSkips) {
      ++run_.skips;
      run_.trainer->skip();
      log_.after_skip(slot);
      run_.warn("step " + std::to_string(step) + " is left out: " + what);
      return false;
    }
    if (policy == "rollback" && run_.rollbacks < kMostRollbacks) {
      const RunPosition position = checkpoints_.roll_back();
      check_pending_ = position.check_pending;
      const std::string text = "back from step " + std::to_string(step) + " to step " + std::to_string(run_.trainer->steps()) +
                               " with half the rate: " + what;
      run_.warn(text);
      run_.try_to_save([&] { record_decision(run_, "rollback", "non_finite at step " + std::to_string(step), {}); });
      return true;
    }
    fail<NonFiniteError>("train", what,
                         policy == "skip"       ? "; " + std::to_string(kMostSkips) + " steps in a row were not finite"
                         : policy == "rollback" ? "; " + std::to_string(kMostRollbacks) + " rollbacks did not help"
                                                : std::string(),
                         "; a smaller --lr or --clip norm:1 may help");
  }

  // Checks, saves, stops. The reason to stop, or nothing.
  std::optional<StopReason> between_steps() {
    const int64_t t = run_.trainer->steps();
    const bool last = t == run_.setup.total_steps;
    check_pending_ = last || checks_.due(t);
    if (run_.events.stop_requested()) {
      return StopReason::signal;
    }
    const std::optional<double>& most = run_.setup.options.train.max_loss;
    if (most && log_.smooth_loss() > *most) {
      return StopReason::diverged;
    }
    if (!last && session_over()) {
      return StopReason::session_time;
    }
    if (!last && out_of_time()) {
      const std::optional<StopReason> reason = checks_.check();
      return reason == StopReason::signal ? reason : StopReason::max_time;
    }
    return check_and_save();
  }

  std::optional<StopReason> check_and_save() {
    const bool checks = check_pending_;
    if (checks) {
      if (const std::optional<StopReason> reason = checks_.check()) {
        check_pending_ = reason == StopReason::signal;
        return reason;
      }
      check_pending_ = false;
    }
    const bool last = run_.trainer->steps() == run_.setup.total_steps;
    if (run_.events.save_requested() || (!last && checkpoints_.due(checks))) {
      checkpoints_.save();
    }
    return {};
  }

  // A save must still fit.
  bool session_over() const {
    const std::optional<Duration>& limit = run_.setup.options.run.session_time;
    return limit && seconds_now() - session_start_ + log_.seconds_per_step() + 2 * std::max(run_.save_time, 0.1) > limit->seconds();
  }

  bool out_of_time() const {
    const std::optional<Duration>& limit = run_.setup.options.run.max_time;
    if (!limit) {
      return false;
    }
    const RunPlan& plan = run_.plan;
    // What ends a run: a check, the test part, the report.
    const double per_image = plan.images_per_second > 0 ? 0.4 / plan.images_per_second : 0;
    const double check = run_.check_time > 0 ? run_.check_time : per_image * static_cast<double>(plan.val_images);
    const double ratio =
        plan.val_images > 0 ? static_cast<double>(plan.test_images) / static_cast<double>(plan.val_images) : 0;
    const double test = plan.val_images > 0 ? check * ratio : per_image * static_cast<double>(plan.test_images);
    const BudgetFacts facts{.elapsed = seconds_now() - run_.start, .step_time = log_.seconds_per_step(),
                            .check_time = check + test + 1.5, .save_time = std::max(run_.save_time, 0.1)};
    return !fits_budget(facts, limit->seconds());
  }

  RunContext& run_;
  StepLog& log_;
  RunChecks& checks_;
  RunCheckpoints& checkpoints_;
  static constexpr int64_t kMostSkips = 10, kMostRollbacks = 3;
  bool check_pending_ = false;
  double session_start_ = seconds_now();
};

RunResult dry_run(RunContext& run) {
  run.loader->start_epoch(0);
  for (int i = 0; i < 2; ++i) {
    const BatchSlot* slot = run.loader->next();
    if (slot == nullptr) {
      break;
    }
    const TensorBatch batch = tensor_batch(*slot);
    check<NonFiniteError>(run.trainer->step(batch.x, batch.y, batch.partner, batch.lam).finite, "train", "the loss must be finite, it is not at step ",
                          run.trainer->steps(), "; a smaller --lr or --clip norm:1 may help");
  }
  RunResult result;
  result.steps = run.trainer->steps();
  result.reason = std::string(stop_reason_name(StopReason::completed));
  result.seconds = seconds_now() - run.start;
  return result;
}

[[noreturn]] void fail_ended(const RunOptions& o, const std::string& reason, int64_t step, int64_t best_epoch,
                             const std::filesystem::path& folder) {
  fail<NonFiniteError>("train", o.stop.monitor, " and the training loss must stay finite, below stop.divergence and train.max_loss, ",
                       reason == stop_reason_name(StopReason::diverged) ? "it was beyond it" : "training met a value that is not finite",
                       " at step ", step, "; the best weights, of epoch ", best_epoch, ", are in ", (folder / "model").string());
}

bool is_failure(const std::string& reason) {
  return reason == stop_reason_name(StopReason::diverged) || reason == stop_reason_name(StopReason::non_finite);
}

// The options with what the run was begun with: its number of threads, on which bits depend.
RunOptions with_recorded_threads(RunOptions o, const std::optional<Resume>& resume) {
  if (resume && resume->checkpoint() != nullptr && o.run.threads.is_auto()) {
    o.run.threads = Auto<int64_t>(resume->state().at("threads").integer());
  }
  return o;
}

// A run that goes on with changed options: told, kept in the state and in config.toml.
void note_edits(RunContext& run, const Resume& resume, RunCheckpoints& checkpoints) {
  const std::vector<Resume::Edit> edits = resume.edits(run.setup.options);
  if (edits.empty()) {
    return;
  }
  const int64_t t = run.trainer->steps();
  RunOptions& o = run.setup.options;
  for (const Resume::Edit& e : edits) {
    JsonValue row = JsonValue::object();
    row["step"] = t;
    row["key"] = e.key;
    row["before"] = e.before;
    row["now"] = e.now;
    checkpoints.edits.push_back(std::move(row));
    o.origins[e.key] = "edit at step " + std::to_string(t);
    run.record->event("edit", t, e.key + " " + e.before + " -> " + e.now);
  }
  run.folder->write("config.toml", config_text(o));
}

// Brings a run back, and its logs to where they were.
RunPosition go_on(RunContext& run, RunChecks& checks, RunCheckpoints& checkpoints, Resume& resume) {
  RunPosition position = checkpoints.restore(resume);
  const RunOptions& o = run.setup.options;
  const int64_t t = run.trainer->steps();
  const std::string there = resume.state().at("fingerprint").string();
  if (there != run.plan.fingerprint) {
    const std::string text = "the run was begun with fingerprint " + there + ", this is " + run.plan.fingerprint;
    check<DataError>(!o.exact, "run", text, ": the bits would not be those of an unbroken run (--exact)");
    run.warn(text + ": the bits will not be those of an unbroken run");
  }
  check<DataError>(!run.teacher || resume.state().string_or("teacher", "") == run.teacher->digest(),
                   "distill", o.distill.teacher, " must say what it said when the run began: its weights "
                   "or its rule have changed; --restart begins anew");
  run.record = std::make_unique<RunRecord>(*run.folder, o.log.tensorboard, resume.record());
  run.record->event("resume", t, "process " + std::to_string(getpid()) + ", from checkpoints/" + resume.checkpoint()->name);
  for (const std::string& text : resume.passed_over()) {
    run.warn(text + "; an older checkpoint is taken");
  }
  const std::vector<Resume::Edit> edits = resume.edits(o);
  if (!edits.empty()) {
    position.ended.clear();
    if (std::ranges::any_of(edits, [](const Resume::Edit& e) { return e.key.starts_with("stop."); })) {
      checks.replay(read_jsonl(run.folder->path() / "metrics.jsonl").rows);
    }
    note_edits(run, resume, checkpoints);
  }
  remove_file(run.folder->fs(), run.folder->path() / "result.json");
  return position;
}

void plan_resumed(RunContext& run, const Resume& resume) {
  run.plan.resumed_step = resume.state().at("position").at("step").integer();
  run.plan.resumed_from = "checkpoints/" + resume.checkpoint()->name;
  for (const Resume::Edit& e : resume.edits(run.setup.options)) {
    run.plan.edits.push_back(e.key + " " + e.before + " -> " + e.now);
  }
  run.plan.folder = run.folder->path();
  run.plan.init = "as begun";
  plan_run(run, resume.session().at("images_per_second").number());
}

}  // namespace

std::function<void(torch::Tensor&, int64_t, int64_t)>& detail::spoil_batch() {
  static std::function<void(torch::Tensor&, int64_t, int64_t)> function;
  return function;
}

RunResult run_training(const RunOptions& options, RunEvents& events) { return run_training(options, events, real_fs()); }

RunResult run_training(const RunOptions& options, RunEvents& events, FileSystem& fs) {
  std::optional<Resume> resume = Resume::find(options, fs);
  const bool resumed = resume && resume->checkpoint() != nullptr;
  RunContext run(with_recorded_threads(options, resume), events, resumed);
  if (resume) {
    if (!options.restart) {
      resume->check_edits(run.setup.options);
      resume->check_data(run.setup.options, run.setup.data.split_csv());
    }
    if (resume->result() != nullptr && resume->edits(run.setup.options).empty()) {
      RunResult result = read_result(*resume->result());
      result.folder = resume->path();
      result.report = result.folder / "report.html";
      if (is_failure(result.reason)) {
        fail_ended(run.setup.options, result.reason, result.steps, result.best_epoch, result.folder);
      }
      return result;
    }
    check<DataError>(resumed || resume->result() == nullptr, "run", resume->path().string(),
                     " has ended and holds no checkpoint to go on from; --restart trains anew");
    run.folder = resume->take_folder();
  }
  if (resumed) {
    plan_resumed(run, *resume);
  } else {
    plan_run(run);
  }
  if (options.dry_run) {
    return dry_run(run);
  }
  if (!run.folder) {
    RunFolderOptions f = folder_options(options);
    f.stem = run.setup.data_name + "-" + run.setup.model.name;
    run.folder = std::make_unique<RunFolder>(fs, f);
  }
  run.plan.folder = run.folder->path();
  if (!resumed) {
    begin_record(run);
  }
  RunResult result;
  result.folder = run.folder->path();
  StepLog log(run);
  RunChecks checks(run, log);
  RunCheckpoints checkpoints(run, log, checks, resume ? resume->checkpoints() : nullptr);
  const RunPosition position = resumed ? go_on(run, checks, checkpoints, *resume) : RunPosition{};
  for (const std::string& text : run.early_warnings) {
    run.record->event("warning", run.trainer->steps(), text);
  }
  Training training(run, log, checks, checkpoints);
  StopReason reason = stop_reason(position.ended).value_or(StopReason::completed);
  if (position.ended.empty()) {
    try {
      reason = training.train(position.check_pending);
    } catch (const NonFiniteError&) {
      end_run(run, log, checks, checkpoints, StopReason::non_finite, false, result);
      throw;
    }
  }
  result.interrupted = !is_final(reason);
  end_run(run, log, checks, checkpoints, reason, training.check_pending(), result);
  if (is_failure(result.reason)) {
    fail_ended(run.setup.options, result.reason, result.steps, checks.best().epoch, result.folder);
  }
  return result;
}

}  // namespace ballast
