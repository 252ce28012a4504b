#include <ballast/train/run_check.h>

#include <algorithm>

#include <ballast/models/model.h>
#include <ballast/train/evaluate_loader.h>
#include <ballast/train/metrics.h>
#include <ballast/train/saved_model.h>

namespace ballast {

RunChecks::RunChecks(RunContext& run, StepLog& log)
    : run_(run), log_(log), val_(run.evaluation(Role::val)), stopping_(start_early_stopping(run.setup.stopping)) {
  const RunSetup& setup = run.setup;
  every_ = std::max<int64_t>(1, setup.options.eval.every.steps(setup.steps_per_epoch, setup.total_steps));
}

std::optional<StopReason> RunChecks::check() {
  const RunSetup& setup = run_.setup;
  const int64_t t = run_.trainer->steps();
  const double train_loss = log_.take_epoch_loss();
  if (val_ == nullptr) {
    return {};
  }
  const double begin = seconds_now();
  PredictionTable table = evaluate_loader(*run_.model, *val_, run_.evaluate_options());
  run_.training_mode();
  const Metrics metrics = compute_metrics(table);
  const double value = metrics.value(setup.monitor);
  const StopDecision decision =
      update_early_stopping(setup.stopping, stopping_, {.value = value, .epoch = t / setup.steps_per_epoch, .step = t});
  run_.check_time = seconds_now() - begin;
  run_.check_seconds_since += run_.check_time;
  if (decision.new_best) {
    best_ = {.epoch = run_.epoch_of(t), .step = t, .value = value, .metrics = named_metrics(metrics),
             .weights = WeightsCopy(*run_.model), .table = std::move(table)};
  }
  record(metrics, decision, train_loss);
  tell(metrics, value, decision, train_loss);
  if (decision.new_best && setup.options.stop.restore == "best") {
    run_.try_to_save([&] { write_model(run_, best_.epoch, best_.step, value); });
  }
  log_.skip_time();
  return decision.stop ? std::optional(decision.reason) : std::nullopt;
}

void RunChecks::record(const Metrics& metrics, const StopDecision& decision, double train_loss) {
  const int64_t t = run_.trainer->steps();
  JsonValue row = check_row(run_, "val", t, metrics);
  row["train_loss"] = train_loss;
  row["wait"] = stopping_.wait;
  row["reference"] = stopping_.reference ? JsonValue(*stopping_.reference) : JsonValue();
  row["best"] = stopping_.best ? JsonValue(*stopping_.best) : JsonValue();
  row["improved"] = decision.improved;
  row["ids"] = log_.digest().json();
  log_.digest().clear();
  run_.try_to_save([&] {
    run_.record->metrics(row);
    for (const auto& [name, value] : named_metrics(metrics)) {
      run_.record->scalar("val/" + name, t, value);
    }
    run_.record->scalar("train/epoch_loss", t, train_loss);
    if (decision.new_best) {
      record_decision(run_, "best", run_.setup.options.stop.monitor, best_.value);
    }
    run_.record->sync();
  });
}

void RunChecks::tell(const Metrics& metrics, double value, const StopDecision& decision, double train_loss) {
  RunCheck c;
  c.step = run_.trainer->steps();
  c.epoch = run_.epoch_of(c.step);
  c.epochs = run_.setup.epochs;
  c.split = "val";
  c.metrics = named_metrics(metrics);
  c.train_loss = train_loss;
  c.lr = log_.last().lr;
  c.monitor = run_.setup.options.stop.monitor;
  c.value = value;
  c.best = stopping_.best.value_or(value);
  c.reference = stopping_.reference.value_or(value);
  c.best_epoch = best_.epoch;
  c.improved = decision.new_best;
  c.wait = stopping_.wait;
  c.patience = run_.setup.stopping.patience.value_or(0);
  c.seconds = log_.seconds();
  csv_.push_back({c.epoch, c.step, c.lr, train_loss, c.metrics});
  run_.events.on_check(c);
}

std::vector<BadSample> RunChecks::bad_samples() const { return val_ ? val_->bad_samples() : std::vector<BadSample>(); }

JsonValue check_row(const RunContext& run, const std::string& split, int64_t step, const Metrics& metrics) {
  JsonValue row = JsonValue::object();
  row["kind"] = "check";
  row["step"] = step;
  row["epoch"] = run.epoch_share(step);
  row["split"] = split;
  add_metrics(row, metrics);
  return row;
}

void record_decision(RunContext& run, const std::string& what, const std::string& reason, std::optional<double> value) {
  JsonValue row = JsonValue::object();
  row["kind"] = "decision";
  row["step"] = run.trainer->steps();
  row["what"] = what;
  row["reason"] = reason;
  JsonValue values = JsonValue::object();
  if (value) {
    values[run.setup.options.stop.monitor] = *value;
  }
  row["values"] = std::move(values);
  run.record->metrics(row);
}

void write_model(RunContext& run, int64_t epoch, int64_t step, double value) {
  const RunSetup& setup = run.setup;
  const RunOptions& o = setup.options;
  SavedModelInfo info;
  info.model = setup.model;
  info.classes = setup.data.classes;
  info.eval_pipeline = setup.eval.text();
  info.normalize = setup.eval.normalize();
  info.data.source = o.data.source;
  info.data.format = o.data.format;
  info.data.cifar_labels = o.data.cifar_labels;
  info.data.split_val = o.data.split_val;
  info.data.split_test = o.data.split_test;
  info.data.limit = o.data.limit;
  info.seed = o.run.seed;
  info.epoch = epoch;
  info.step = step;
  info.monitor = setup.data.role(Role::val).size() > 0 ? o.stop.monitor : "";
  info.value = value;
  save_model(run.folder->fs(), run.folder->path() / "model", *run.model, info);
}

}  // namespace ballast
