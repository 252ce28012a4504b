#include <ballast/train/run_end.h>

#include <algorithm>
#include <map>

#include <ballast/base/check.h>
#include <ballast/models/model.h>
#include <ballast/train/metrics.h>
#include <ballast/train/run_report.h>
#include <ballast/train/saved_model.h>

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

void evaluate_test(RunContext& run, int64_t step, RunResult& result, BadSamples& bad) {
  const std::unique_ptr<Loader> test = run.evaluation(Role::test);
  if (test == nullptr) {
    return;
  }
  run.events.on_phase("evaluating the test part");
  PredictionTable table = evaluate_loader(*run.model, *test, run.evaluate_options());
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
}

}  // namespace

void end_run(RunContext& run, StepLog& log, RunChecks& checks, StopReason reason, RunResult& result) {
  run.events.on_phase("saving");
  result.reason = std::string(stop_reason_name(reason));
  const int64_t t = run.trainer->steps();
  result.steps = t;
  result.epochs = t / run.setup.steps_per_epoch;
  result.train_seconds = log.seconds();
  result.images_per_second = log.images_per_second();
  save_checkpoint(run);
  BestCheck& best = checks.best();
  const bool restore = run.setup.options.stop.restore == "best" && !best.weights.empty();
  if (restore) {
    best.weights.restore(*run.model);
  } else {
    best.step = t;
    best.epoch = run.epoch_of(t);
  }
  result.best_epoch = best.epoch;
  result.best_step = best.step;
  result.val = best.metrics;
  if (t > 0) {
    write_model(run, best.epoch, best.step, best.value);
  }
  record_decision(run, "stop", result.reason,
                  checks.stopping().best ? std::optional(best.value) : std::nullopt);
  if (best.table.size() > 0 && restore) {
    write_table(run, best.table, "val", best.step);
  }
  BadSamples bad;
  if (reason != StopReason::signal && reason != StopReason::non_finite) {
    evaluate_test(run, best.step > 0 ? best.step : t, result, bad);
  }
  bad.add(run.loader->bad_samples());
  bad.add(checks.bad_samples());
  result.bad_samples = static_cast<int64_t>(bad.all().size());
  run.folder->write("bad_samples.csv", bad_samples_csv(bad.all()));
  run.folder->write("metrics.csv", metrics_csv(checks.csv()));
  run.record->event(result.interrupted ? "signal" : "end", t, result.reason);
  run.record->close();
  run.events.on_phase("writing report");
  result.report = write_report(run.folder->path(), run.setup.data);
  result.seconds = seconds_now() - run.start;
}

void save_checkpoint(RunContext& run) {
  const int64_t t = run.trainer->steps();
  const std::string digits = std::to_string(t);
  const std::string name = "step-" + std::string(9 - std::min<size_t>(9, digits.size()), '0') + digits;
  FileSystem& fs = run.folder->fs();
  const std::filesystem::path root = run.folder->path() / "checkpoints";
  std::error_code ignored;
  if (t == 0 || std::filesystem::exists(root / name, ignored)) {
    return;
  }
  make_folders(fs, root);
  // Written beside and renamed: a folder of that name is complete.
  const std::filesystem::path open = root / (".tmp-" + name);
  make_folders(fs, open);
  save_weights(fs, open / "model.safetensors", *run.model);
  const int renamed = fs.rename(open, root / name);
  if (renamed < 0) {
    throw StorageError(detail::message("run", "cannot rename ", open.string()), -renamed);
  }
  fs.fsync_dir(root);
  run.record->event("save", t, "checkpoints/" + name);
  std::vector<FolderEntry> entries;
  if (fs.readdir(root, entries) >= 0) {
    std::vector<std::string> old;
    for (const FolderEntry& e : entries) {
      if (e.name.rfind("step-", 0) == 0) {
        old.push_back(e.name);
      }
    }
    std::sort(old.begin(), old.end());
    const auto keep = static_cast<size_t>(run.setup.options.save.keep_last);
    for (size_t i = 0; i + keep < old.size(); ++i) {
      std::filesystem::remove_all(root / old[i], ignored);
    }
  }
}

}  // namespace ballast
