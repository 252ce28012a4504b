#include <ballast/train/run_check.h>

#include <algorithm>

#include <ballast/models/model.h>
#include <ballast/train/allocator.h>
#include <ballast/train/evaluate_loader.h>
#include <ballast/train/metrics.h>
#include <ballast/train/saved_model.h>

namespace ballast {

RunChecks::RunChecks(RunContext& run, StepLog& log)
    : run_(run), log_(log), val_(run.evaluation(Role::val)) {
  const RunSetup& setup = run.setup;
  for (const EarlyStoppingOptions& o : setup.all_stopping) {
    states_.push_back(start_early_stopping(o));
  }
  every_ = std::max<int64_t>(1, setup.options.eval.every.steps(setup.steps_per_epoch, setup.total_steps));
}

namespace {

// The averages stand in the model while this lives.
class Averages {
 public:
  explicit Averages(RunContext& run) : run_(run) {
    if (run_.ema) {
      run_.ema->swap_in(*run_.model);
    }
  }
  ~Averages() {
    if (run_.ema) {
      run_.ema->swap_back(*run_.model);
    }
  }
  Averages(const Averages&) = delete;
  Averages& operator=(const Averages&) = delete;

 private:
  RunContext& run_;
};

}  // namespace

std::optional<StopReason> RunChecks::check() {
  const RunSetup& setup = run_.setup;
  const int64_t t = run_.trainer->steps();
  if (val_ == nullptr) {
    log_.take_epoch_loss();
    JsonValue row = JsonValue::object();
    row["kind"] = "mix";
    row["step"] = t;
    row["epoch"] = run_.epoch_share(t);
    const size_t bare = row.size();
    log_.take_epoch_mix(row);
    if (row.size() > bare) {
      run_.try_to_save([&] { run_.record->metrics(row); });
    }
    return {};
  }
  const double begin = seconds_now();
  const Averages averages(run_);
  PredictionTable table = evaluate();
  if (table.size() == 0) {
    return StopReason::signal;
  }
  const double train_loss = log_.take_epoch_loss();
  const Metrics metrics = compute_metrics(table);
  const double value = metrics.value(setup.monitor);
  const StopDecision decision = decide(metrics);
  checked_step_ = t;
  checked_value_ = value;
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
  if (!decision.stop) {
    change_rate(value);
  }
  log_.skip_time();
  return decision.stop ? std::optional(decision.reason) : std::nullopt;
}

StopDecision RunChecks::decide(const Metrics& metrics) {
  const RunSetup& setup = run_.setup;
  const int64_t t = run_.trainer->steps();
  std::vector<CheckValue> values = {{.value = metrics.value(setup.monitor), .epoch = t / setup.steps_per_epoch, .step = t}};
  for (const std::string& name : setup.also) {
    values.push_back(values.front());
    values.back().value = metrics.value(name);
  }
  if (values.size() == 1) {
    return update_early_stopping(setup.stopping, states_.front(), values.front());
  }
  return update_early_stopping(setup.all_stopping, states_, values,
                               setup.options.stop.combine == "any" ? CombineMonitors::any : CombineMonitors::all);
}

void RunChecks::start_cooldowns() {
  for (size_t i = 0; i < states_.size(); ++i) {
    start_cooldown(run_.setup.all_stopping[i], states_[i]);
  }
}

// What happens to the rate at a check: a cut by plateau, a new cycle. Stopping then waits for its cooldown.
void RunChecks::change_rate(double value) {
  const RunSetup& setup = run_.setup;
  const int64_t t = run_.trainer->steps();
  if (setup.plateau && update_plateau(*setup.plateau, plateau_, {.value = value, .epoch = t / setup.steps_per_epoch, .step = t})) {
    run_.set_lr_scale(plateau_.scale);
    start_cooldowns();
    run_.try_to_save([&] { record_decision(run_, "lr_cut", "plateau", value); });
  }
  if (cycle_restarts_at(setup.schedule, t, setup.total_steps)) {
    start_cooldowns();
  }
}

void RunChecks::record(const Metrics& metrics, const StopDecision& decision, double train_loss) {
  const int64_t t = run_.trainer->steps();
  JsonValue row = check_row(run_, "val", t, metrics);
  row["train_loss"] = train_loss;
  row["lr"] = log_.last().lr;
  log_.take_epoch_mix(row);
  const EarlyStoppingState& stopping = states_.front();
  row["wait"] = stopping.wait;
  row["reference"] = stopping.reference ? JsonValue(*stopping.reference) : JsonValue();
  row["best"] = stopping.best ? JsonValue(*stopping.best) : JsonValue();
  row["improved"] = decision.improved;
  if (states_.size() > 1) {
    JsonValue waits = JsonValue::object();
    for (size_t i = 1; i < states_.size(); ++i) {
      waits[run_.setup.options.stop.also[i - 1]] = states_[i].wait;
    }
    row["waits"] = std::move(waits);
  }
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
  c.best = stopping().best.value_or(value);
  c.reference = stopping().reference.value_or(value);
  c.best_epoch = best_.epoch;
  c.improved = decision.new_best;
  c.wait = stopping().wait;
  c.patience = run_.setup.stopping.patience.value_or(0);
  c.seconds = log_.seconds();
  run_.events.on_check(c);
}

PredictionTable RunChecks::evaluate() {
  EvaluateOptions options = run_.evaluate_options();
  options.on_batch = [this](int64_t) { return !run_.events.stop_requested(); };
  release_free_memory();  // a check's blocks are of other sizes than a step's: the peak is that of one, not of both
  PredictionTable table = evaluate_loader(*run_.model, *val_, options);
  release_free_memory();
  run_.training_mode();
  return table;
}

JsonValue RunChecks::state() const {
  JsonValue s = JsonValue::object();
  s["stopping"] = stopping_json(states_.front());
  if (states_.size() > 1) {
    JsonValue also = JsonValue::array();
    for (size_t i = 1; i < states_.size(); ++i) {
      also.push_back(stopping_json(states_[i]));
    }
    s["also"] = std::move(also);
  }
  s["plateau"] = stopping_json(plateau_.rule);
  s["lr_scale"] = plateau_.scale;
  JsonValue best = JsonValue::object();
  best["step"] = best_.step;
  best["epoch"] = best_.epoch;
  best["value"] = best_.value;
  JsonValue metrics = JsonValue::object();
  for (const auto& [name, value] : best_.metrics) {
    metrics[name] = value;
  }
  best["metrics"] = std::move(metrics);
  s["best"] = std::move(best);
  s["checked_step"] = checked_step_;
  s["checked_value"] = checked_value_;
  return s;
}

void RunChecks::restore(const JsonValue& s) {
  states_.front() = stopping_state(s.at("stopping"));
  const JsonValue* also = s.find("also");
  for (size_t i = 1; i < states_.size(); ++i) {  // other monitors than before: the record is gone through again
    states_[i] = also != nullptr && also->size() >= i ? stopping_state(also->elements()[i - 1])
                                                      : start_early_stopping(run_.setup.all_stopping[i]);
  }
  plateau_.rule = stopping_state(s.at("plateau"));
  plateau_.scale = s.at("lr_scale").number();
  run_.set_lr_scale(plateau_.scale);
  const JsonValue& best = s.at("best");
  best_ = {};
  best_.step = best.at("step").integer();
  best_.epoch = best.at("epoch").integer();
  best_.value = best.at("value").number();
  for (const auto& [name, value] : best.at("metrics").members()) {
    best_.metrics.emplace_back(name, value.number());
  }
  checked_step_ = s.at("checked_step").integer();
  checked_value_ = s.at("checked_value").number();
}

void RunChecks::replay(const std::vector<JsonValue>& record) {
  for (size_t i = 0; i < states_.size(); ++i) {
    const EarlyStoppingOptions& options = run_.setup.all_stopping[i];
    const std::string& metric = i == 0 ? run_.setup.monitor : run_.setup.also[i - 1];
    states_[i] = start_early_stopping(options);
    for (const JsonValue& row : record) {
      if (row.string_or("kind", "") == "check" && row.string_or("split", "") == "val") {
        const int64_t step = row.at("step").integer();
        update_early_stopping(options, states_[i],
                              {.value = row.at(metric).number(), .epoch = step / run_.setup.steps_per_epoch, .step = step});
      }
    }
  }
  EarlyStoppingState& stopping = states_.front();
  if (stopping.best_step != best_.step) {
    // Other weights are the best under these options, and they are gone.
    if (stopping.best) {
      run_.warn("under the new options the best check was at step " + std::to_string(stopping.best_step) +
                ", whose weights were not kept: the best is looked for from here on");
    }
    stopping.best.reset();
    best_ = {};
  }
}

JsonValue stopping_json(const EarlyStoppingState& s) {
  const auto optional = [](const std::optional<double>& v) { return v ? JsonValue(*v) : JsonValue(); };
  JsonValue out = JsonValue::object();
  out["checks"] = s.checks;
  out["wait"] = s.wait;
  out["cooldown_left"] = s.cooldown_left;
  out["reference"] = optional(s.reference);
  out["reference_check"] = s.reference_check;
  out["best"] = optional(s.best);
  out["best_check"] = s.best_check;
  out["best_step"] = s.best_step;
  out["smooth_sum"] = s.smooth_sum;
  out["smooth_weight"] = s.smooth_weight;
  out["nonfinite_waiting"] = s.nonfinite_waiting;
  return out;
}

EarlyStoppingState stopping_state(const JsonValue& value) {
  const auto optional = [&](const char* name) {
    const JsonValue& v = value.at(name);
    return v.is_null() ? std::optional<double>() : std::optional(v.number());
  };
  EarlyStoppingState s;
  s.checks = value.at("checks").integer();
  s.wait = value.at("wait").integer();
  s.cooldown_left = value.at("cooldown_left").integer();
  s.reference = optional("reference");
  s.reference_check = value.at("reference_check").integer();
  s.best = optional("best");
  s.best_check = value.at("best_check").integer();
  s.best_step = value.at("best_step").integer();
  s.smooth_sum = value.at("smooth_sum").number();
  s.smooth_weight = value.at("smooth_weight").number();
  s.nonfinite_waiting = value.at("nonfinite_waiting").integer();
  return s;
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
  info.several_labels = setup.data.several_labels();
  info.eval_pipeline = setup.eval.text();
  info.normalize = setup.eval.normalize();
  info.data = data_options(o);
  info.seed = o.run.seed;
  info.epoch = epoch;
  info.step = step;
  info.monitor = setup.data.role(Role::val).size() > 0 ? o.stop.monitor : "";
  info.value = value;
  save_model(run.folder->fs(), run.folder->path() / "model", *run.model, info);
}

}  // namespace ballast
