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
#include <ballast/train/run_check.h>
#include <ballast/train/run_context.h>
#include <ballast/train/run_end.h>
#include <ballast/train/run_plan.h>
#include <ballast/train/step_log.h>
#include <ballast/train/tensor_batch.h>

namespace ballast {
namespace {

void open_folder(RunContext& run) {
  const RunOptions& o = run.setup.options;
  RunFolderOptions f;
  f.name = o.run.name;
  f.out = o.run.out;
  f.stem = run.setup.data_name + "-" + run.setup.model.name;
  f.overwrite = o.run.overwrite;
  run.folder = std::make_unique<RunFolder>(real_fs(), f);
  run.plan.folder = run.folder->path();
  run.record = std::make_unique<RunRecord>(*run.folder, o.log.tensorboard);
  run.folder->write("config.toml", config_text(o));
  run.folder->write("env.json", environment_json(run.plan).text(2) + "\n");
  run.folder->write("split.csv", run.setup.data.split_csv());
  if (!run.plan.start.path.empty()) {
    run.folder->write("pretrained.json", start_json(run.plan.start).text(2) + "\n");
  }
  run.record->event("start", 0, "process " + std::to_string(getpid()));
  run.record->event("init", 0, run.plan.init);
  for (const std::string& text : run.early_warnings) {
    run.record->event("warning", 0, text);
  }
  JsonValue row = JsonValue::object();
  row["kind"] = "run";
  row["version"] = version();
  row["seed"] = o.run.seed;
  row["steps_per_epoch"] = run.setup.steps_per_epoch;
  row["T"] = run.setup.total_steps;
  row["classes"] = run.setup.data.classes;
  row["fingerprint"] = run.plan.fingerprint;
  row["data_digest"] = run.setup.data.split_digest();
  run.record->metrics(row);
}

/// The loop over steps.
class Training {
 public:
  Training(RunContext& run, StepLog& log, RunChecks& checks)
      : run_(run), log_(log), checks_(checks), last_save_(seconds_now()) {}

  /// Trains to the end, or until something stops it.
  StopReason train() {
    for (int64_t epoch = 0; epoch < run_.setup.epochs; ++epoch) {
      run_.loader->start_epoch(epoch);
      for (;;) {
        const double begin = seconds_now();
        const BatchSlot* slot = run_.loader->next();
        if (slot == nullptr) {
          break;
        }
        log_.add_data_time(seconds_now() - begin);
        log_.begin_watch();
        const StepResult result = step(*slot);
        log_.after_step(result, *slot);
        if (const std::optional<StopReason> reason = between_steps()) {
          return *reason;
        }
      }
    }
    return StopReason::completed;
  }

 private:
  StepResult step(const BatchSlot& slot) {
    const TensorBatch batch = tensor_batch(slot);
    if (batch.x.size(0) == 0) {
      return {};
    }
    const StepResult result = run_.trainer->step(batch.x, batch.y, batch.partner, batch.lam);
    if (!result.finite) {
      fail_non_finite(run_, log_, result, slot);
    }
    return result;
  }

  // Checks, saves, stops. The reason to stop, or nothing.
  std::optional<StopReason> between_steps() {
    const int64_t t = run_.trainer->steps();
    const bool last = t == run_.setup.total_steps;
    if (run_.events.stop_requested()) {
      return StopReason::signal;
    }
    if (!last && out_of_time()) {
      checks_.check();
      return StopReason::max_time;
    }
    if (last || checks_.due(t)) {
      if (const std::optional<StopReason> reason = checks_.check()) {
        return reason;
      }
    }
    if (!last && save_due()) {
      last_save_ = seconds_now();
      run_.try_to_save([&] { save_checkpoint(run_); });
    }
    return {};
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

  bool save_due() const {
    const Duration& every = run_.setup.options.save.every;
    if (every.is_time()) {
      return seconds_now() - last_save_ >= every.seconds();
    }
    const int64_t steps = every.steps(run_.setup.steps_per_epoch, run_.setup.total_steps);
    return run_.trainer->steps() % std::max<int64_t>(1, steps) == 0;
  }

  RunContext& run_;
  StepLog& log_;
  RunChecks& checks_;
  double last_save_ = 0;
};

RunResult dry_run(RunContext& run) {
  run.loader->start_epoch(0);
  for (int i = 0; i < 2; ++i) {
    const BatchSlot* slot = run.loader->next();
    if (slot == nullptr) {
      break;
    }
    const TensorBatch batch = tensor_batch(*slot);
    if (batch.x.size(0) > 0 && !run.trainer->step(batch.x, batch.y, batch.partner, batch.lam).finite) {
      fail<NonFiniteError>("train", "the loss must be finite, it is not at step ", run.trainer->steps(),
                           "; a smaller --lr or --clip norm:1 may help");
    }
  }
  RunResult result;
  result.steps = run.trainer->steps();
  result.reason = std::string(stop_reason_name(StopReason::completed));
  result.seconds = seconds_now() - run.start;
  return result;
}

}  // namespace

RunResult run_training(const RunOptions& options, RunEvents& events) {
  RunContext run(options, events);
  plan_run(run);
  if (options.dry_run) {
    return dry_run(run);
  }
  open_folder(run);
  RunResult result;
  result.folder = run.folder->path();
  StepLog log(run);
  RunChecks checks(run, log);
  StopReason reason = StopReason::completed;
  try {
    reason = Training(run, log, checks).train();
  } catch (const NonFiniteError&) {
    end_run(run, log, checks, StopReason::non_finite, result);
    throw;
  }
  result.interrupted = reason == StopReason::signal;
  end_run(run, log, checks, reason, result);
  if (reason == StopReason::diverged || reason == StopReason::non_finite) {
    fail<NonFiniteError>("train", run.setup.options.stop.monitor, " must stay finite and below stop.divergence, it is ",
                         reason == StopReason::diverged ? "beyond it" : "not finite", " at step ", result.steps,
                         "; the best weights, of epoch ", checks.best().epoch, ", are in ",
                         (result.folder / "model").string());
  }
  return result;
}

}  // namespace ballast
