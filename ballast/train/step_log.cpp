#include <ballast/train/step_log.h>

#include <algorithm>
#include <cmath>

#include <ballast/models/model.h>
#include <ballast/train/machine.h>

namespace ballast {

StepLog::StepLog(RunContext& run) : run_(run), digest_(run.setup.options.run.seed), train_start_(seconds_now()) {
  const RunSetup& setup = run.setup;
  const AugmentSection& augment = setup.options.augment;
  mixing_ = augment.mixup_alpha.value_or(0) > 0 || augment.cutmix_alpha.value_or(0) > 0 || !augment.cutmix_minmax.empty();
  const LogSection& log = setup.options.log;
  log_every_ = std::max<int64_t>(1, log.every.steps(setup.steps_per_epoch, setup.total_steps));
  if (log.watch) {
    watch_every_ = std::max<int64_t>(1, log.watch->steps(setup.steps_per_epoch, setup.total_steps));
    run.watch = std::make_unique<StepWatch>(*run.model);
  }
}

void StepLog::begin_watch() {
  // The first step, and every watch_every_ steps after it.
  watching_ = run_.watch != nullptr && run_.trainer->steps() % watch_every_ == 0;
  if (watching_) {
    run_.watch->begin();
  }
}

void StepLog::after_step(const StepResult& r, const BatchSlot& slot) {
  if (watching_) {
    watch_row();
  }
  smooth_.add(r.loss);
  window_.loss += r.loss * static_cast<double>(slot.n);
  epoch_loss_ += r.loss * static_cast<double>(slot.n);
  epoch_samples_ += slot.n;
  if (mixing_) {
    mix_.add(slot);
  }
  window_.samples += slot.n;
  ++window_.steps;
  window_.clipped += r.clipped ? 1 : 0;
  window_.forward += r.forward;
  window_.backward += r.backward;
  window_.optimizer += r.optimizer;
  samples_ += slot.n;
  for (int64_t i = 0; i < slot.n; ++i) {
    digest_.add(slot.id[static_cast<size_t>(i)]);
  }
  last_ = r;
  last_losses_.push_back(r.loss);
  last_norms_.push_back(r.gradient_norm);
  if (last_losses_.size() > 100) {
    last_losses_.pop_front();
    last_norms_.pop_front();
  }
  end_step();
  report_bad_samples();
}

void StepLog::after_skip(const BatchSlot& slot) {
  samples_ += slot.n;
  for (int64_t i = 0; i < slot.n; ++i) {
    digest_.add(slot.id[static_cast<size_t>(i)]);
  }
  ++window_.skipped;
  if (watching_) {
    run_.watch->end();  // of a step that did not count
  }
  end_step();
}

void StepLog::end_step() {
  const int64_t t = run_.trainer->steps();
  const double now = seconds_now();
  step_seconds_ += now - (last_step_end_ > 0 ? last_step_end_ : train_start_);
  last_step_end_ = now;
  if (t % log_every_ == 0) {
    log_row();
  }
  const bool epoch_end = t % run_.setup.steps_per_epoch == 0;
  if (now - last_progress_ >= 0.05 || epoch_end) {
    last_progress_ = now;
    progress();
  }
}

JsonValue StepLog::state() const {
  JsonValue s = JsonValue::object();
  s["samples"] = samples_;
  s["epoch_loss"] = epoch_loss_;
  s["epoch_samples"] = epoch_samples_;
  if (mixing_) {
    s["mix"] = std::vector<double>{static_cast<double>(mix_.pictures), static_cast<double>(mix_.mixed), mix_.lambda, mix_.entropy};
  }
  s["smooth"] = smooth_.state();
  JsonValue window = JsonValue::object();
  window["loss"] = window_.loss;
  window["samples"] = window_.samples;
  window["steps"] = window_.steps;
  window["clipped"] = window_.clipped;
  window["skipped"] = window_.skipped;
  s["window"] = std::move(window);
  s["ids"] = digest_.json();
  JsonValue last = JsonValue::object();
  last["loss"] = last_.loss;
  last["lr"] = last_.lr;
  last["momentum"] = last_.momentum;
  last["gradient_norm"] = last_.gradient_norm;
  s["last"] = std::move(last);
  s["last_losses"] = std::vector<double>(last_losses_.begin(), last_losses_.end());
  s["last_norms"] = std::vector<double>(last_norms_.begin(), last_norms_.end());
  return s;
}

void StepLog::restore(const JsonValue& s) {
  samples_ = s.at("samples").integer();
  epoch_loss_ = s.at("epoch_loss").number();
  epoch_samples_ = s.at("epoch_samples").integer();
  mix_ = {};
  if (const JsonValue* mix = s.find("mix"); mix != nullptr && mix->size() == 4) {
    const auto& sums = mix->elements();
    mix_ = {.pictures = static_cast<int64_t>(sums[0].number()), .mixed = static_cast<int64_t>(sums[1].number()),
            .lambda = sums[2].number(), .entropy = sums[3].number()};
  }
  smooth_.restore(s.at("smooth"));
  const JsonValue& window = s.at("window");
  window_ = {};
  window_.loss = window.at("loss").number();
  window_.samples = window.at("samples").integer();
  window_.steps = window.at("steps").integer();
  window_.clipped = window.at("clipped").integer();
  window_.skipped = static_cast<int64_t>(window.number_or("skipped", 0));
  digest_.restore(s.at("ids"));
  const JsonValue& last = s.at("last");
  last_ = {};
  last_.loss = last.at("loss").number();
  last_.lr = last.at("lr").number();
  last_.momentum = last.at("momentum").number();
  last_.gradient_norm = last.at("gradient_norm").number();
  const auto numbers = [](const JsonValue& list) {
    std::deque<double> out;
    for (const JsonValue& v : list.elements()) {
      out.push_back(v.number());
    }
    return out;
  };
  last_losses_ = numbers(s.at("last_losses"));
  last_norms_ = numbers(s.at("last_norms"));
}

double StepLog::take_epoch_loss() {
  const double loss = epoch_samples_ > 0 ? epoch_loss_ / static_cast<double>(epoch_samples_) : 0;
  epoch_loss_ = 0;
  epoch_samples_ = 0;
  return loss;
}

void StepLog::take_epoch_mix(JsonValue& row) {
  if (mixing_) {
    row["mix.mixed"] = mix_.mixed_share();
    row["mix.lambda"] = mix_.mean_lambda();
    row["mix.label_entropy"] = mix_.label_entropy();
  }
  mix_ = {};
}

double StepLog::seconds_per_step() const {
  return step_seconds_ / static_cast<double>(std::max<int64_t>(1, run_.trainer->steps()));
}

void StepLog::watch_row() {
  const double begin = seconds_now();
  const int64_t t = run_.trainer->steps();
  JsonValue row = JsonValue::object();
  row["kind"] = "watch";
  row["step"] = t;
  row["epoch"] = run_.epoch_share(t);
  row["layers"] = run_.watch->end();
  watch_seconds_since_ += seconds_now() - begin;
  run_.try_to_save([&] { run_.record->metrics(row); });
}

void StepLog::report_bad_samples() {
  const std::vector<BadSample>& bad = run_.loader->bad_samples();
  for (; last_bad_ < bad.size(); ++last_bad_) {
    const BadSample& b = bad[last_bad_];
    run_.warn(b.path + " cannot be read (" + b.detail + "); " +
              (b.action == "substitute" ? "another picture takes its place" : "it is left out"));
  }
}

void StepLog::log_row() {
  const int64_t t = run_.trainer->steps();
  const auto samples = static_cast<double>(window_.samples);
  const double loss = samples > 0 ? window_.loss / samples : std::nan("");  // all skipped: nothing is known
  JsonValue row = JsonValue::object();
  row["kind"] = "train";
  row["step"] = t;
  row["epoch"] = run_.epoch_share(t);
  row["samples"] = samples_;
  row["loss"] = loss;
  row["lr"] = last_.lr;
  row["momentum"] = last_.momentum;
  row["grad_norm"] = last_.gradient_norm;
  row["clipped"] = window_.clipped;
  row["skipped"] = window_.skipped;
  const double seconds = window_.data + window_.forward + window_.backward + window_.optimizer;
  JsonValue timing = JsonValue::object();
  timing["step"] = t;
  timing["data"] = window_.data;
  timing["forward"] = window_.forward;
  timing["backward"] = window_.backward;
  timing["optimizer"] = window_.optimizer;
  timing["reduce"] = 0.0;
  timing["check"] = run_.check_seconds_since;
  timing["save"] = run_.save_seconds_since;
  if (run_.watch) {
    timing["watch"] = watch_seconds_since_;
    watch_seconds_since_ = 0;
  }
  timing["images_per_second"] = seconds > 0 ? samples / seconds : 0;
  timing["rss"] = resident_bytes();
  run_.check_seconds_since = run_.save_seconds_since = 0;
  window_ = {};
  run_.try_to_save([&] {
    run_.record->metrics(row);
    run_.record->timing(timing);
    run_.record->scalar("train/loss", t, loss);
    run_.record->scalar("train/lr", t, last_.lr);
    run_.record->scalar("train/grad_norm", t, last_.gradient_norm);
  });
}

void StepLog::progress() {
  const RunSetup& setup = run_.setup;
  const int64_t t = run_.trainer->steps();
  RunProgress p;
  p.epoch = std::min(setup.epochs, run_.epoch_of(t));
  p.epochs = setup.epochs;
  p.step = t;
  p.steps = setup.total_steps;
  p.step_in_epoch = t - (p.epoch - 1) * setup.steps_per_epoch;
  p.steps_per_epoch = setup.steps_per_epoch;
  p.loss = smooth_.value();
  p.lr = last_.lr;
  p.seconds = seconds();
  const double each = t > 0 ? seconds_per_step() : 0;
  rate_.emplace_back(seconds_now(), samples_);
  while (rate_.size() > 2 && rate_.back().first - rate_.front().first > 5) {
    rate_.pop_front();
  }
  const double span = rate_.back().first - rate_.front().first;
  p.images_per_second = span > 0 ? static_cast<double>(rate_.back().second - rate_.front().second) / span
                                 : run_.plan.images_per_second;
  p.seconds_left_epoch = each * static_cast<double>(setup.steps_per_epoch - p.step_in_epoch);
  p.seconds_left = each * static_cast<double>(setup.total_steps - t) +
                   run_.check_time * static_cast<double>(setup.epochs - p.epoch + 1);
  if (setup.options.run.max_time) {
    p.seconds_left =
        std::min(p.seconds_left, std::max(0.0, setup.options.run.max_time->seconds() - (seconds_now() - run_.start)));
  }
  p.phase = "train";
  run_.events.on_progress(p);
}

}  // namespace ballast
