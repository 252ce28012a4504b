#include <ballast/train/run_checkpoint.h>

#include <unistd.h>

#include <algorithm>
#include <array>

#include <ATen/Parallel.h>

#include <ballast/base/check.h>
#include <ballast/base/version.h>
#include <ballast/models/model.h>
#include <ballast/weights/state_dict.h>

namespace ballast {
namespace {

CheckpointFile json_file(const char* name, const JsonValue& value) {
  const std::string text = value.text(1) + "\n";
  const auto bytes = std::as_bytes(std::span(text));
  return {name, {bytes.begin(), bytes.end()}};
}

StateDict optimizer_state(const Trainer& trainer) {
  StateDict out;
  for (const NamedParameter& p : trainer.optimizer().state()) {
    out.emplace(p.name, p.value);
  }
  return out;
}

}  // namespace

RunCheckpoints::RunCheckpoints(RunContext& run, StepLog& log, RunChecks& checks, std::shared_ptr<CheckpointFolder> folder)
    : run_(run),
      log_(log),
      checks_(checks),
      folder_(folder ? std::move(folder)
                     : std::make_shared<CheckpointFolder>(run.folder->fs(), run.folder->path() / "checkpoints")),
      last_save_(seconds_now()) {}

RunCheckpoints::~RunCheckpoints() {
  if (pending_.valid()) {
    pending_.wait();
  }
}

bool RunCheckpoints::due(bool checked) const {
  const double since = seconds_now() - last_save_;
  if (checked && since >= 50 * save_seconds_) {
    return true;
  }
  const Duration& every = run_.setup.options.save.every;
  if (every.is_time()) {
    return since >= every.seconds();
  }
  const int64_t steps = every.steps(run_.setup.steps_per_epoch, run_.setup.total_steps);
  return run_.trainer->steps() % std::max<int64_t>(1, steps) == 0;
}

void RunCheckpoints::save(const RunPosition& position) {
  const double begin = seconds_now();
  last_save_ = begin;
  try {
    finish_pending();
    Job job = snapshot(position);
    pending_step_ = job.info.step;
    pending_ = std::async(std::launch::async, [this, own = std::move(job)] {
      const double start = seconds_now();
      write(own);
      return seconds_now() - start;
    });
  } catch (const StorageError& e) {
    if (++failed_ >= 3) {
      throw;
    }
    run_.events.on_warning(std::string(e.what()) + "; training goes on, the next save tries again");
  }
  run_.save_seconds_since += seconds_now() - begin;
}

void RunCheckpoints::save_now(const RunPosition& position) {
  try {
    finish_pending();
  } catch (const StorageError& e) {
    run_.events.on_warning(e.what());
  }
  const double begin = seconds_now();
  write(snapshot(position));
  save_seconds_ = seconds_now() - begin;
  durations_.push_back(save_seconds_);
  run_.save_time = std::max(run_.save_time, save_seconds_);
  run_.record->event("save", run_.trainer->steps(), "checkpoints/" + checkpoint_name(run_.trainer->steps()));
}

void RunCheckpoints::finish_pending() {
  if (!pending_.valid()) {
    return;
  }
  save_seconds_ = pending_.get();
  durations_.push_back(save_seconds_);
  run_.save_time = std::max(run_.save_time, save_seconds_);
  failed_ = 0;
  run_.record->event("save", pending_step_, "checkpoints/" + checkpoint_name(pending_step_));
}

void RunCheckpoints::write(const Job& job) {
  folder_->save(job.info, job.files);
  const SaveSection& o = run_.setup.options.save;
  folder_->prune({.last = o.keep_last, .best = o.keep_best, .maximize = run_.setup.stopping.mode == MonitorMode::max});
}

RunCheckpoints::Job RunCheckpoints::snapshot(const RunPosition& position) {
  const int64_t t = run_.trainer->steps();
  Job job;
  const WeightsCopy weights(*run_.model);
  job.info.step = t;
  job.info.epoch = run_.epoch_share(t);
  job.info.finite = weights.finite() && position.ended != stop_reason_name(StopReason::diverged);
  job.info.monitor = run_.setup.options.stop.monitor;
  job.info.value = checks_.value_at(t);
  job.info.facts = {{"fingerprint", run_.plan.fingerprint}, {"version", std::string(version())}};
  job.files.push_back({"model.safetensors", encode_weights(weights.tensors())});
  job.files.push_back({"optimizer.safetensors", encode_weights(optimizer_state(*run_.trainer))});
  if (run_.ema) {
    job.files.push_back({"ema.safetensors", encode_weights(run_.ema->averages())});
  }
  if (run_.swa) {
    job.files.push_back({"swa.safetensors", encode_weights(run_.swa->averages())});
  }
  const BestCheck& best = checks_.best();
  if (!best.weights.empty() && best.step != t) {
    job.files.push_back({"best.safetensors", encode_weights(best.weights.tensors())});
  }
  const RecordPosition record = run_.record->position(t);
  job.files.push_back(json_file("state.json", state(position, record)));
  job.files.push_back(json_file("session.json", session(record)));
  return job;
}

JsonValue RunCheckpoints::state(const RunPosition& position, const RecordPosition& record) const {
  const int64_t t = run_.trainer->steps();
  JsonValue s = JsonValue::object();
  JsonValue at = JsonValue::object();
  at["step"] = t;
  at["epoch"] = t / run_.setup.steps_per_epoch;
  at["step_in_epoch"] = t % run_.setup.steps_per_epoch;
  at["check_pending"] = position.check_pending;
  at["ended"] = position.ended;
  s["position"] = std::move(at);
  s["T"] = run_.setup.total_steps;
  s["threads"] = at::get_num_threads();
  s["fingerprint"] = run_.plan.fingerprint;
  s["classes"] = run_.setup.data.classes;
  if (run_.teacher) {
    s["teacher"] = run_.teacher->digest();
  }
  s["config"] = deciding_values(run_.setup.options);
  s["edits"] = edits;
  JsonValue rec = JsonValue::object();
  rec["bytes"] = record.metrics;
  rec["sha256"] = record.metrics_sha256;
  s["record"] = std::move(rec);
  if (run_.ema) {
    s["ema_updates"] = run_.ema->updates();
  }
  if (run_.swa) {
    s["swa_n"] = run_.swa->n();
  }
  s["attempt"] = run_.rollbacks;
  s["skips"] = run_.skips;
  s["log"] = log_.state();
  s["checks"] = checks_.state();
  std::vector<BadSample> bad = earlier_bad;
  for (const std::vector<BadSample>& more : {run_.loader->bad_samples(), checks_.bad_samples()}) {
    bad.insert(bad.end(), more.begin(), more.end());
  }
  std::ranges::stable_sort(bad, {}, &BadSample::id);
  const auto twice = std::ranges::unique(bad, {}, &BadSample::id);
  bad.erase(twice.begin(), twice.end());
  s["bad_samples"] = bad_samples_json(bad);
  return s;
}

JsonValue RunCheckpoints::session(const RecordPosition& record) const {
  JsonValue s = JsonValue::object();
  s["elapsed"] = seconds_now() - run_.start;
  s["step_seconds"] = log_.step_seconds();
  s["check_time"] = run_.check_time;
  s["save_time"] = save_seconds_;
  s["images_per_second"] = run_.plan.images_per_second;
  s["timing_bytes"] = record.timing;
  s["resumes"] = resumes_;
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  s["host"] = host.data();
  s["pid"] = static_cast<int64_t>(getpid());
  s["time"] = utc_now();
  return s;
}

double RunCheckpoints::usual_save_seconds() const {
  if (durations_.empty()) {
    return 0;
  }
  std::vector<double> sorted = durations_;
  std::ranges::sort(sorted);
  return sorted[(sorted.size() * 95 + 99) / 100 - 1];
}

RunPosition RunCheckpoints::roll_back() {
  try {
    finish_pending();
  } catch (const StorageError& e) {
    run_.events.on_warning(e.what());
  }
  const int64_t rollbacks = run_.rollbacks + 1;
  std::string why;
  for (const std::string& name : folder_->names()) {
    try {
      const Checkpoint c = folder_->read(name);
      const auto json = [&](const char* file) {
        const std::vector<std::byte>& bytes = c.file(file);
        return parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, c.name + "/" + file);
      };
      const JsonValue state_of = json("state.json");
      const RecordPosition record = record_position(state_of, json("session.json"));
      apply(c, state_of);
      run_.rollbacks = rollbacks;
      run_.set_lr_scale(state_of.at("checks").at("lr_scale").number());
      checks_.start_cooldowns();
      folder_->loaded(c);
      run_.record->close();
      run_.record = std::make_unique<RunRecord>(*run_.folder, run_.setup.options.log.tensorboard, record);
      run_.record->event("rollback", run_.trainer->steps(), "to checkpoints/" + name);
      return {.check_pending = state_of.at("position").at("check_pending").boolean(), .ended = ""};
    } catch (const DataError& e) {
      why += (why.empty() ? " (" : "; ") + name + ": " + e.what();
    }
  }
  fail<DataError>("run", "a rollback needs a whole checkpoint, there is none", why, why.empty() ? "" : ")");
}

RunPosition RunCheckpoints::restore(Resume& resume) {
  for (;;) {
    try {
      apply(resume);
      break;
    } catch (const DataError& e) {
      resume.pass_over(e.what());
    }
  }
  folder_->loaded(*resume.checkpoint());
  const JsonValue& position = resume.state().at("position");
  return {.check_pending = position.at("check_pending").boolean(), .ended = position.at("ended").string()};
}

void RunCheckpoints::apply(const Checkpoint& c, const JsonValue& s) {
  const auto weights = [&](const char* file) { return decode_weights(c.file(file), c.name + "/" + file); };
  copy_into(*run_.model, weights("model.safetensors"), c.name + "/model.safetensors");
  const int64_t t = s.at("position").at("step").integer();
  run_.trainer->restore(t, weights("optimizer.safetensors"), c.name + "/optimizer.safetensors");
  if (run_.ema) {
    run_.ema->restore(s.at("ema_updates").integer(), weights("ema.safetensors"), c.name + "/ema.safetensors");
  }
  if (run_.swa) {
    run_.swa->restore(s.at("swa_n").integer(), weights("swa.safetensors"), c.name + "/swa.safetensors");
  }
  run_.rollbacks = static_cast<int64_t>(s.number_or("attempt", 0));
  run_.skips = static_cast<int64_t>(s.number_or("skips", 0));
  log_.restore(s.at("log"));
  checks_.restore(s.at("checks"));
  BestCheck& best = checks_.best();
  if (best.step == t) {
    best.weights = run_.ema ? WeightsCopy(*run_.model, run_.ema->averages(), c.name) : WeightsCopy(*run_.model);
  } else if (best.step > 0) {
    best.weights = WeightsCopy(*run_.model, weights("best.safetensors"), c.name + "/best.safetensors");
  }
  edits = s.at("edits");
  earlier_bad = bad_samples_of(s.at("bad_samples"));
}

void RunCheckpoints::apply(const Resume& resume) {
  apply(*resume.checkpoint(), resume.state());
  const JsonValue& session = resume.session();
  run_.start -= session.at("elapsed").number();
  log_.restore_step_seconds(session.at("step_seconds").number());
  run_.check_time = session.at("check_time").number();
  save_seconds_ = session.at("save_time").number();
  resumes_ = session.at("resumes").integer() + 1;
}

JsonValue bad_samples_json(const std::vector<BadSample>& samples) {
  JsonValue list = JsonValue::array();
  for (const BadSample& b : samples) {
    JsonValue row = JsonValue::object();
    row["id"] = b.id;
    row["path"] = b.path;
    row["role"] = static_cast<int64_t>(b.role);
    row["reason"] = static_cast<int64_t>(b.reason);
    row["detail"] = b.detail;
    row["bytes"] = b.bytes;
    row["action"] = b.action;
    row["substitute_id"] = b.substitute_id ? JsonValue(*b.substitute_id) : JsonValue();
    list.push_back(std::move(row));
  }
  return list;
}

std::vector<BadSample> bad_samples_of(const JsonValue& list) {
  std::vector<BadSample> out;
  for (const JsonValue& row : list.elements()) {
    BadSample b;
    b.id = row.at("id").unsigned_integer();
    b.path = row.at("path").string();
    b.role = static_cast<Role>(row.at("role").integer());
    b.reason = static_cast<BadReason>(row.at("reason").integer());
    b.detail = row.at("detail").string();
    b.bytes = row.at("bytes").integer();
    b.action = row.at("action").string();
    if (!row.at("substitute_id").is_null()) {
      b.substitute_id = row.at("substitute_id").unsigned_integer();
    }
    out.push_back(std::move(b));
  }
  return out;
}

}  // namespace ballast
