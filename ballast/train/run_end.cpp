#include <ballast/train/run_end.h>

#include <functional>
#include <map>

#include <ballast/base/check.h>
#include <ballast/models/model.h>
#include <ballast/norm/reestimate.h>
#include <ballast/report/table.h>
#include <ballast/train/allocator.h>
#include <ballast/train/metrics.h>
#include <ballast/train/run_report.h>
#include <ballast/train/tensor_batch.h>

namespace ballast {
namespace {

void write_table(const RunContext& run, PredictionTable& table, const std::string& split, int64_t step) {
  const std::filesystem::path folder = run.folder->path() / "predictions";
  make_folders(run.folder->fs(), folder);
  table.metadata["split"] = split;
  table.metadata["model"] = run.setup.model.name;
  table.metadata["step"] = std::to_string(step);
  if (table.logits.size() > (size_t{64} << 20)) {
    table.logits.clear();
  }
  write_predictions(run.folder->fs(), folder / (split + ".safetensors"), table);
}

/// Nothing in the run reads these rows; what is fitted on several runs does.
void predict_hold(RunContext& run, int64_t step) {
  const std::unique_ptr<Loader> hold = run.evaluation(Role::hold);
  if (hold == nullptr) {
    return;
  }
  run.events.on_phase("predicting the part held out");
  PredictionTable table = evaluate_loader(*run.model, *hold, run.evaluate_options());
  write_table(run, table, "hold", step);
}

class BadSamples {
 public:
  void add(const std::vector<BadSample>& samples) {
    for (const BadSample& b : samples) {
      by_id_.emplace(b.id, b);
    }
  }
  std::vector<BadSample> all() const {
    std::vector<BadSample> out;
    for (const auto& [id, sample] : by_id_) {
      out.push_back(sample);
    }
    return out;
  }

 private:
  std::map<uint64_t, BadSample> by_id_;
};

// False: a request to stop came.
bool evaluate_test(RunContext& run, int64_t step, RunResult& result, BadSamples& bad) {
  const std::unique_ptr<Loader> test = run.evaluation(Role::test);
  if (test == nullptr) {
    return true;
  }
  run.events.on_phase("evaluating the test part");
  release_free_memory();
  EvaluateOptions options = run.evaluate_options();
  options.on_batch = [&run](int64_t) { return !run.events.stop_requested(); };
  PredictionTable table = evaluate_loader(*run.model, *test, options);
  if (table.size() == 0 && run.events.stop_requested()) {
    return false;
  }
  const Metrics metrics = compute_metrics(table);
  const JsonValue row = check_row(run, "test", step, metrics);
  result.test = named_metrics(metrics);
  run.try_to_save([&] {
    run.record->metrics(row);
    for (const auto& [name, value] : result.test) {
      run.record->scalar("test/" + name, step, value);
    }
    run.record->sync();
  });
  write_table(run, table, "test", step);
  bad.add(test->bad_samples());
  return true;
}

// The teacher on the same pictures. False: a request to stop came.
bool evaluate_teacher(RunContext& run, int64_t step, RunResult& result) {
  const std::unique_ptr<Loader> test = run.teacher ? run.evaluation(Role::test) : nullptr;
  if (test == nullptr) {
    return true;
  }
  run.events.on_phase("evaluating the teacher");
  EvaluateOptions options = run.evaluate_options();
  options.forward = [&run](const torch::Tensor& x) { return run.teach(x, run.setup.eval.normalize()); };
  options.on_batch = [&run](int64_t) { return !run.events.stop_requested(); };
  PredictionTable table = evaluate_loader(*run.model, *test, options);
  if (table.size() == 0 && run.events.stop_requested()) {
    return false;
  }
  const Metrics metrics = compute_metrics(table);
  const JsonValue row = check_row(run, "teacher", step, metrics);
  result.teacher = named_metrics(metrics);
  run.try_to_save([&] {
    run.record->metrics(row);
    run.record->sync();
  });
  write_table(run, table, "teacher", step);
  return true;
}

// Batches of training pictures for batch statistics, until a request to stop comes; at least one, without which there are none.
class StatisticsBatches {
 public:
  explicit StatisticsBatches(RunContext& run) : run_(run) {}
  std::optional<torch::Tensor> operator()() {
    if (!loader_) {
      loader_ = reestimation_loader(run_.setup, run_.layout);
      loader_->start_epoch(0);
    } else if (run_.events.stop_requested()) {
      stopped = true;
      return std::nullopt;
    }
    const BatchSlot* slot = loader_->next();
    return slot == nullptr ? std::nullopt : std::optional(tensor_batch(*slot).x.to(run_.device));
  }
  bool stopped = false;

 private:
  RunContext& run_;
  std::unique_ptr<Loader> loader_;
};

// The model's weights with batch statistics of their own become the result; they are checked as `split`. False: a request to stop came.
bool take_reestimated(RunContext& run, RunChecks& checks, const std::string& split, int64_t epoch, int64_t step, int64_t max_batches) {
  StatisticsBatches batches(run);
  const int64_t taken = reestimate(*run.model, [&run](const torch::Tensor& x) { return run.model->forward(x); }, std::ref(batches),
                                   {.max_batches = max_batches});
  if (taken == 0 && !batches.stopped && run.setup.options.average.reestimate > 0) {
    run.warn("average.reestimate changes nothing: " + run.setup.model.name + " keeps no batch statistics");
  }
  bool stopped = batches.stopped;
  BestCheck best{.epoch = epoch, .step = step, .value = 0, .metrics = {}, .weights = WeightsCopy(*run.model), .table = {}};
  if (run.setup.data.role(Role::val).size() > 0 && !stopped) {
    best.table = checks.evaluate();
    stopped = best.table.size() == 0 && run.events.stop_requested();
  }
  if (stopped) {
    return false;
  }
  if (best.table.size() > 0) {
    const Metrics metrics = compute_metrics(best.table);
    best.value = metrics.value(run.setup.monitor);
    best.metrics = named_metrics(metrics);
    const JsonValue row = check_row(run, split, step, metrics);
    run.try_to_save([&] { run.record->metrics(row); });
  }
  checks.best() = std::move(best);
  return true;
}

// Likewise, the averaged weights.
bool take_swa(RunContext& run, RunChecks& checks) {
  const int64_t t = run.trainer->steps();
  run.events.on_phase("re-estimating batch statistics of the averaged weights");
  copy_into(*run.model, run.swa->averages(), "swa");
  if (!take_reestimated(run, checks, "val_swa", run.epoch_of(t), t, run.setup.steps_per_epoch)) {
    return false;
  }
  record_decision(run, "swa", std::to_string(run.swa->n()) + " averaged", checks.best().value);
  return true;
}

// How far the statistics of the saved weights' batch norms are from those of training pictures. False: a request to stop came.
bool measure_drift(RunContext& run, int64_t step) {
  StatisticsBatches batches(run);
  const std::vector<NormDrift> drifts = norm_drift(
      *run.model, [&run](const torch::Tensor& x) { return run.model->forward(x); }, std::ref(batches), {.max_batches = 2});
  if (batches.stopped || drifts.empty()) {
    return !batches.stopped;
  }
  JsonValue row = JsonValue::object();
  row["kind"] = "norm_drift";
  row["step"] = step;
  JsonValue layers = JsonValue::array();
  for (const NormDrift& drift : drifts) {
    JsonValue layer = JsonValue::object();
    layer["name"] = drift.layer;
    layer["shift"] = drift.shift;
    layer["scale"] = drift.scale;
    layers.push_back(std::move(layer));
  }
  row["layers"] = std::move(layers);
  run.try_to_save([&] { run.record->metrics(row); });
  return true;
}

// What a run leaves that was stopped in its last part: the same command does that part again.
void end_interrupted(RunContext& run, RunResult& result) {
  result.interrupted = true;
  result.reason = std::string(stop_reason_name(StopReason::signal));
  run.record->event("signal", run.trainer->steps(), result.reason);
  run.record->close();
  result.seconds = seconds_now() - run.start;
}

bool may_save(RunContext& run, const RunCheckpoints& checkpoints, StopReason reason) {
  const std::optional<Duration>& grace = run.setup.options.run.grace;
  const double usual = checkpoints.usual_save_seconds();
  if (reason != StopReason::signal || !grace || usual <= grace->seconds()) {
    return true;
  }
  run.warn("a save takes " + format_duration(usual) + " here, longer than --grace " + grace->text() +
           ": none is begun, the newest checkpoint stands");
  return false;
}

void save_result(RunContext& run, const RunResult& result) {
  const auto metrics = [](const std::vector<std::pair<std::string, double>>& named) {
    JsonValue out = JsonValue::object();
    for (const auto& [name, value] : named) {
      out[name] = value;
    }
    return out;
  };
  JsonValue r = JsonValue::object();
  r["reason"] = result.reason;
  r["epochs"] = result.epochs;
  r["steps"] = result.steps;
  r["best_epoch"] = result.best_epoch;
  r["best_step"] = result.best_step;
  r["monitor"] = run.setup.options.stop.monitor;
  r["val"] = metrics(result.val);
  r["test"] = metrics(result.test);
  if (!result.teacher.empty()) {
    r["teacher"] = metrics(result.teacher);
  }
  r["bad_samples"] = result.bad_samples;
  run.folder->write("result.json", r.text(2) + "\n");
}

}  // namespace

void end_run(RunContext& run, StepLog& log, RunChecks& checks, RunCheckpoints& checkpoints, StopReason reason,
             bool check_pending, RunResult& result) {
  run.events.on_phase("saving");
  result.reason = std::string(stop_reason_name(reason));
  const int64_t t = run.trainer->steps();
  result.steps = t;
  result.epochs = t / run.setup.steps_per_epoch;
  result.train_seconds = log.seconds();
  result.images_per_second = log.images_per_second();
  if (may_save(run, checkpoints, reason)) {
    checkpoints.save_now({.check_pending = check_pending, .ended = is_final(reason) ? result.reason : ""});
  }
  if (reason == StopReason::signal && run.setup.options.run.grace) {
    end_interrupted(run, result);  // no time for more
    return;
  }
  const bool averaged = run.swa && run.swa->n() > 0 && is_final(reason) && reason != StopReason::non_finite &&
                        reason != StopReason::diverged;
  if (averaged && !take_swa(run, checks)) {
    end_interrupted(run, result);
    return;
  }
  BestCheck& best = checks.best();
  const bool restore = (averaged || run.setup.options.stop.restore == "best") && !best.weights.empty();
  if (restore) {
    best.weights.restore(*run.model);
  } else {
    if (run.ema) {
      copy_into(*run.model, run.ema->averages(), "ema");
    }
    best.step = t;
    best.epoch = run.epoch_of(t);
  }
  const int64_t anew = run.setup.options.average.reestimate;
  if (anew > 0 && !averaged && t > 0 && is_final(reason) && reason != StopReason::non_finite && reason != StopReason::diverged) {
    run.events.on_phase("re-estimating batch statistics");
    if (!take_reestimated(run, checks, "val_reestimated", best.epoch, best.step, anew)) {
      end_interrupted(run, result);
      return;
    }
  }
  result.best_epoch = best.epoch;
  result.best_step = best.step;
  result.val = best.metrics;
  if (t > 0) {
    write_model(run, best.epoch, best.step, best.value);
  }
  record_decision(run, "stop", result.reason,
                  checks.stopping().best ? std::optional(best.value) : std::nullopt);
  if (restore && is_final(reason)) {
    if (best.table.size() == 0) {  // it was made in an earlier session
      best.table = checks.evaluate();
      if (best.table.size() == 0 && run.events.stop_requested()) {
        end_interrupted(run, result);
        return;
      }
    }
    if (best.table.size() > 0) {
      write_table(run, best.table, "val", best.step);
    }
  }
  BadSamples bad;
  if (is_final(reason) && reason != StopReason::non_finite) {
    const int64_t step = best.step > 0 ? best.step : t;
    predict_hold(run, step);
    if (!measure_drift(run, step) || !evaluate_test(run, step, result, bad) || !evaluate_teacher(run, step, result)) {
      end_interrupted(run, result);
      return;
    }
  }
  bad.add(checkpoints.earlier_bad);
  bad.add(run.loader->bad_samples());
  bad.add(checks.bad_samples());
  result.bad_samples = static_cast<int64_t>(bad.all().size());
  run.folder->write("bad_samples.csv", bad_samples_csv(bad.all()));
  run.folder->write("metrics.csv", metrics_csv(read_jsonl(run.folder->path() / "metrics.jsonl").rows));
  run.record->event(result.interrupted ? "signal" : "end", t, result.reason);
  run.record->close();
  run.events.on_phase("writing report");
  result.report = write_report(run.folder->path(), run.setup.data);
  result.seconds = seconds_now() - run.start;
  if (is_final(reason)) {
    save_result(run, result);
  }
}

RunResult read_result(const JsonValue& r) {
  const auto metrics = [](const JsonValue& named) {
    std::vector<std::pair<std::string, double>> out;
    for (const auto& [name, value] : named.members()) {
      out.emplace_back(name, value.number());
    }
    return out;
  };
  RunResult result;
  result.was_finished = true;
  result.reason = r.at("reason").string();
  result.epochs = r.at("epochs").integer();
  result.steps = r.at("steps").integer();
  result.best_epoch = r.at("best_epoch").integer();
  result.best_step = r.at("best_step").integer();
  result.val = metrics(r.at("val"));
  result.test = metrics(r.at("test"));
  if (const JsonValue* teacher = r.find("teacher"); teacher != nullptr) {
    result.teacher = metrics(*teacher);
  }
  result.bad_samples = r.at("bad_samples").integer();
  return result;
}

}  // namespace ballast
