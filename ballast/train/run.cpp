#include <ballast/train/run.h>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <fstream>
#include <map>

#include <ATen/Parallel.h>
#include <torch/nn/module.h>

#include <ballast/base/check.h>
#include <ballast/base/version.h>
#include <ballast/control/budget.h>
#include <ballast/control/stop_reason.h>
#include <ballast/init/lsuv.h>
#include <ballast/models/layer_table.h>
#include <ballast/models/model.h>
#include <ballast/probe/drop_order.h>
#include <ballast/report/table.h>
#include <ballast/train/evaluate_loader.h>
#include <ballast/train/machine.h>
#include <ballast/train/metrics.h>
#include <ballast/train/pretrained.h>
#include <ballast/train/run_folder.h>
#include <ballast/train/run_report.h>
#include <ballast/train/run_rows.h>
#include <ballast/train/run_setup.h>
#include <ballast/train/saved_model.h>
#include <ballast/train/step_watch.h>
#include <ballast/train/tensor_batch.h>
#include <ballast/train/trainer.h>
#include <ballast/weights/freeze.h>
#include <ballast/weights/param_groups.h>

namespace ballast {
namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

TrainerOptions trainer_options(const RunSetup& setup) {
  const RunOptions& o = setup.options;
  TrainerOptions t;
  t.optimizer.name = o.optim.name;
  t.optimizer.weight_decay = *o.optim.weight_decay;
  t.optimizer.momentum = o.optim.momentum;
  t.optimizer.nesterov = o.optim.nesterov && o.optim.momentum > 0;
  t.optimizer.beta1 = o.optim.betas.at(0);
  t.optimizer.beta2 = o.optim.betas.at(1);
  t.optimizer.eps = o.optim.eps;
  t.schedule = setup.schedule;
  t.total_steps = setup.total_steps;
  t.micro_batch = o.train.micro_batch;
  t.loss = o.loss.name == "bce" ? LossName::bce : o.loss.name == "focal" ? LossName::focal : LossName::cross_entropy;
  t.focal_gamma = o.loss.gamma;
  t.label_smoothing = *o.loss.label_smoothing;
  t.seed = o.run.seed;
  t.clip = !o.train.clip ? ClipMode::off : o.train.clip_mode() == "norm" ? ClipMode::norm : ClipMode::value;
  t.clip_limit = o.train.clip ? o.train.clip_limit() : 1;
  return t;
}

std::string batch_text(int64_t batch, int64_t micro) {
  if (micro == 0 || micro >= batch) {
    return "batch " + std::to_string(batch);
  }
  const int64_t parts = (batch + micro - 1) / micro;
  return "batch " + std::to_string(batch) + " = " + std::to_string(parts) + " x " +
         std::to_string((batch + parts - 1) / parts);
}

// The mean of the last losses, newer ones counting more; half-life 50 steps.
class SmoothLoss {
 public:
  void add(double loss) {
    sum_ = kDecay * sum_ + loss;
    weight_ = kDecay * weight_ + 1;
  }
  double value() const { return weight_ > 0 ? sum_ / weight_ : 0; }

 private:
  static constexpr double kDecay = 0.98623270449;  // 2^(-1/50)
  double sum_ = 0, weight_ = 0;
};

// Sums of the steps since the last row of the record.
struct Window {
  double loss = 0;
  int64_t samples = 0, steps = 0, clipped = 0;
  double data = 0, forward = 0, backward = 0, optimizer = 0;
};

class Run {
 public:
  Run(const RunOptions& options, RunEvents& events) : start_(seconds_now()), events_(events) {
    events_.on_phase("reading data");
    device_ = find_device(options.run.device);
    set_threads(options.run.threads.value_or(0));
    setup_ = set_up_run(options);
    set_math(setup_.options.math.level);
    make();
  }

  RunResult run() {
    plan_run();
    if (setup_.options.dry_run) {
      return dry_run();
    }
    open_folder();
    try {
      train();
    } catch (const NonFiniteError&) {
      finish(StopReason::non_finite);
      throw;
    }
    finish(reason_);
    if (reason_ == StopReason::diverged || reason_ == StopReason::non_finite) {
      fail<NonFiniteError>("train", setup_.options.stop.monitor, " must stay finite and below stop.divergence, it is ",
                           reason_ == StopReason::diverged ? "beyond it" : "not finite", " at step ", result_.steps,
                           "; the best weights, of epoch ", best_epoch_, ", are in ", (result_.folder / "model").string());
    }
    return result_;
  }

 private:
  void make() {
    const RunOptions& o = setup_.options;
    model_ = make_model(setup_.model, setup_.key());
    setup_.model = model_->options();
    plan_.init = setup_.model.init;
    load_pretrained(*model_, o, setup_.key(), plan_.start);
    frozen_ = freeze(*model_, o.train.freeze);
    note_frozen(frozen_, plan_.start);
    groups_ = run_groups(*model_, o);
    note_groups(groups_, plan_.start);
    const bool channels_last = o.train.layout == "channels_last" || (o.train.layout == "auto" && model_->prefers_channels_last());
    layout_ = channels_last ? Layout::hwc : Layout::chw;
    if (!device_.is_cpu()) {
      model_->to(device_);
    }
    if (channels_last) {
      to_channels_last(*model_);
    }
    TrainerOptions t = trainer_options(setup_);
    t.optimizer.groups = groups_;
    trainer_ = std::make_unique<Trainer>(
        *model_,
        [this](const torch::Tensor& x) {
          return watch_ && watch_->active() ? watch_->forward([&] { return model_->forward(x); }, x.size(0)) : model_->forward(x);
        },
        t);
    loader_ = training_loader(setup_, layout_);
    training_mode();
    if (setup_.model.init == "lsuv" && plan_.start.path.empty()) {
      start_from_data();
    }
  }

  void training_mode() {
    model_->train();
    keep_frozen(*model_, frozen_);
  }

  // LSUV, on the first training pictures.
  void start_from_data() {
    constexpr int64_t kSamples = 128;
    loader_->start_epoch(0);
    std::vector<torch::Tensor> parts;
    int64_t samples = 0;
    while (samples < kSamples) {
      const BatchSlot* slot = loader_->next();
      if (slot == nullptr) {
        break;
      }
      parts.push_back(tensor_batch(*slot).x.clone());
      samples += parts.back().size(0);
    }
    const torch::Tensor x = at::cat(parts).slice(0, 0, kSamples).to(device_);
    const std::vector<LsuvRow> rows = lsuv(*model_, [this](torch::Tensor in) { return model_->forward(std::move(in)); }, x,
                                           {.key = setup_.key()});
    plan_.init = "lsuv on " + std::to_string(x.size(0)) + " pictures: " + lsuv_summary(rows);
  }

  std::unique_ptr<Loader> evaluation(Role role) const {
    const RoleView& view = setup_.data.role(role);
    if (view.size() == 0) {
      return nullptr;
    }
    return evaluation_loader(view, setup_.eval, setup_.model, setup_.options.eval.batch_size,
                             static_cast<int>(setup_.options.run.workers.value_or(-1)), layout_);
  }

  // Seconds of a step with its data, from a few steps whose effects are taken back.
  void measure(RunPlan& plan) {
    events_.on_phase("measuring");
    const WeightsCopy before(*model_);
    TrainerOptions t = trainer_options(setup_);
    t.optimizer.groups = groups_;
    Trainer probe(*model_, [this](const torch::Tensor& x) { return model_->forward(x); }, t);
    loader_->start_epoch(0);
    double seconds = 0;
    int64_t samples = 0;
    drop_warnings_.clear();
    for (int i = 0; i < 4 && seconds < 3; ++i) {
      const double start = seconds_now();
      const BatchSlot* slot = loader_->next();
      if (slot == nullptr || events_.stop_requested()) {
        break;
      }
      const TensorBatch batch = tensor_batch(*slot);
      if (i == 0 && batch.x.size(0) >= 2) {
        const torch::Tensor few = batch.x.slice(0, 0, 32).to(device_);
        for (const DropOrderRow& row : drop_order(*model_, [this](const torch::Tensor& x) { return model_->forward(x); }, few)) {
          drop_warnings_.push_back(row.text);
        }
      }
      if (batch.x.size(0) > 0) {
        probe.step(batch.x, batch.y);
      }
      if (i > 0 || setup_.steps_per_epoch == 1) {  // the first one also warms up
        seconds += seconds_now() - start;
        samples += slot->n;
      }
    }
    before.restore(*model_);
    if (samples > 0 && seconds > 0) {
      const double each = seconds / static_cast<double>(samples);
      plan.images_per_second = 1 / each;
      plan.seconds_per_step = each * static_cast<double>(setup_.options.train.batch_size);
      const double check = static_cast<double>(plan.val_images) * each / 2.5;
      plan.seconds_estimate = static_cast<double>(setup_.epochs) * (static_cast<double>(plan.train_images) * each + check) +
                              static_cast<double>(plan.test_images) * each / 2.5;
      if (setup_.options.run.max_time) {
        plan.seconds_estimate = std::min(plan.seconds_estimate, setup_.options.run.max_time->seconds());
      }
    }
  }

  void plan_run() {
    const RunOptions& o = setup_.options;
    const DataSet& data = setup_.data;
    RunPlan& p = plan_;
    p.data_name = setup_.data_name;
    p.data_format = data.format;
    p.train_images = data.role(Role::train).size();
    p.val_images = data.role(Role::val).size();
    p.test_images = data.role(Role::test).size();
    p.channels = data.channels;
    p.source_height = data.height;
    p.source_width = data.width;
    p.classes = data.classes;
    p.train_pipeline = setup_.train.text();
    p.eval_pipeline = setup_.eval.text();
    p.model = setup_.model.name;
    p.height = setup_.model.height;
    p.width = setup_.model.width;
    layers_ = layer_table(*model_);
    const LayerTotals totals = ballast::totals(layers_);
    p.parameters = totals.params;
    p.multiply_adds = totals.multiply_adds;
    p.epochs = setup_.epochs;
    p.steps_per_epoch = setup_.steps_per_epoch;
    p.steps = setup_.total_steps;
    p.batch_size = o.train.batch_size;
    p.micro_batch = o.train.micro_batch;
    p.batch_text = batch_text(o.train.batch_size, o.train.micro_batch);
    p.optimizer = o.optim.name;
    p.schedule = *o.schedule.name;
    p.lr = *o.optim.lr;
    p.weight_decay = *o.optim.weight_decay;
    p.label_smoothing = *o.loss.label_smoothing;
    p.monitor = p.val_images > 0 ? o.stop.monitor : "";
    p.device = device_.str();
    p.layout = layout_ == Layout::hwc ? "channels_last" : "contiguous";
    p.threads = at::get_num_threads();
    p.seed = o.run.seed;
    p.fingerprint = fingerprint(o.math.level, p.layout, p.device);
    p.hints = setup_.hints;
    if (!o.model.pretrained.empty() && o.origins.count("optim.lr") && o.origins.at("optim.lr").starts_with("auto")) {
      p.hints.push_back("pre-trained weights often want a smaller rate: --lr " + format_significant(p.lr / 10, 2));
    }
    measure(p);
    p.workers = loader_->workers();
    events_.on_plan(p);
    for (const std::string& note : data.notes) {
      warn(note);
    }
    for (const std::string& text : drop_warnings_) {
      warn(text);
    }
    if (p.val_images == 0) {
      warn("there is no validation part: the last weights are kept, and nothing can stop the run early");
    }
    if (setup_.drops_single) {
      warn("the last batch of each epoch would hold one picture, which batch statistics cannot use: it is left out");
    }
  }

  RunResult dry_run() {
    loader_->start_epoch(0);
    for (int i = 0; i < 2; ++i) {
      const BatchSlot* slot = loader_->next();
      if (slot == nullptr) {
        break;
      }
      step(*slot, 0);
    }
    result_.steps = trainer_->steps();
    result_.reason = std::string(stop_reason_name(StopReason::completed));
    result_.seconds = seconds_now() - start_;
    return result_;
  }

  void warn(const std::string& text) {
    events_.on_warning(text);
    if (record_) {
      record_->event("warning", trainer_->steps(), text);
    } else {
      early_warnings_.push_back(text);
    }
  }

  void open_folder() {
    const RunOptions& o = setup_.options;
    RunFolderOptions f;
    f.name = o.run.name;
    f.out = o.run.out;
    f.stem = setup_.data_name + "-" + setup_.model.name;
    f.overwrite = o.run.overwrite;
    folder_ = std::make_unique<RunFolder>(real_fs(), f);
    result_.folder = plan_.folder = folder_->path();
    record_ = std::make_unique<RunRecord>(*folder_, o.log.tensorboard);
    folder_->write("config.toml", config_text(o));
    folder_->write("env.json", environment_json(plan_).text(2) + "\n");
    folder_->write("split.csv", setup_.data.split_csv());
    if (!plan_.start.path.empty()) {
      folder_->write("pretrained.json", start_json(plan_.start).text(2) + "\n");
    }
    record_->event("start", 0, "process " + std::to_string(getpid()));
    record_->event("init", 0, plan_.init);
    for (const std::string& text : early_warnings_) {
      record_->event("warning", 0, text);
    }
    JsonValue row = JsonValue::object();
    row["kind"] = "run";
    row["version"] = version();
    row["seed"] = o.run.seed;
    row["steps_per_epoch"] = setup_.steps_per_epoch;
    row["T"] = setup_.total_steps;
    row["classes"] = setup_.data.classes;
    row["fingerprint"] = plan_.fingerprint;
    row["data_digest"] = setup_.data.split_digest();
    record_->metrics(row);
  }

  std::string names_of(const std::vector<uint64_t>& ids, size_t most) const {
    std::string text;
    for (size_t i = 0; i < std::min(ids.size(), most); ++i) {
      text += (i == 0 ? "" : ", ") + std::to_string(ids[i]) + " (" +
              setup_.data.source->name(static_cast<int64_t>(ids[i])) + ")";
    }
    return text + (ids.size() > most ? ", and " + std::to_string(ids.size() - most) + " more" : "");
  }

  [[noreturn]] void non_finite(const StepResult& r, const BatchSlot& slot, int64_t epoch, int64_t batch) {
    const int64_t step = trainer_->steps();
    std::vector<uint64_t> ids(slot.id.begin(), slot.id.begin() + slot.n);
    std::string where;
    if (folder_) {
      JsonValue report = JsonValue::object();
      report["step"] = step;
      report["epoch"] = epoch;
      report["batch"] = batch;
      report["loss"] = r.loss;
      report["gradient_norm"] = r.gradient_norm;
      report["lr"] = r.lr;
      report["input_finite"] = torch::isfinite(batch_pixels(slot)).all().item<bool>();
      report["weights_finite"] = WeightsCopy(*model_).finite();
      JsonValue samples = JsonValue::array();
      for (const uint64_t id : ids) {
        JsonValue s = JsonValue::object();
        s["id"] = id;
        s["path"] = setup_.data.source->name(static_cast<int64_t>(id));
        samples.push_back(std::move(s));
      }
      report["samples"] = std::move(samples);
      report["last_losses"] = std::vector<double>(last_losses_.begin(), last_losses_.end());
      report["last_gradient_norms"] = std::vector<double>(last_norms_.begin(), last_norms_.end());
      const std::filesystem::path name = std::filesystem::path("nonfinite") / ("step-" + std::to_string(step)) / "report.json";
      make_folders(folder_->fs(), (folder_->path() / name).parent_path());
      folder_->write(name, report.text(2) + "\n");
      where = "; see " + (folder_->path() / name).string();
    }
    fail<NonFiniteError>("train", "the loss must be finite, got loss ", r.loss, " and gradient norm ", r.gradient_norm,
                         " at step ", step, " (epoch ", epoch + 1, ", batch ", batch, ") of samples ", names_of(ids, 4),
                         where, "; a smaller --lr or --clip norm:1 may help");
  }

  StepResult step(const BatchSlot& slot, int64_t epoch) {
    const TensorBatch batch = tensor_batch(slot);
    if (batch.x.size(0) == 0) {
      return {};
    }
    const StepResult r = trainer_->step(batch.x, batch.y);
    if (!r.finite) {
      non_finite(r, slot, epoch, batch_);
    }
    return r;
  }

  void train() {
    const RunOptions& o = setup_.options;
    val_ = evaluation(Role::val);
    stopping_ = start_early_stopping(setup_.stopping);
    const int64_t check_every = std::max<int64_t>(1, o.eval.every.steps(setup_.steps_per_epoch, setup_.total_steps));
    const int64_t log_every = std::max<int64_t>(1, o.log.every.steps(setup_.steps_per_epoch, setup_.total_steps));
    train_start_ = last_save_ = seconds_now();
    digest_ = std::make_unique<SampleDigest>(o.run.seed);
    if (o.log.watch) {
      watch_every_ = std::max<int64_t>(1, o.log.watch->steps(setup_.steps_per_epoch, setup_.total_steps));
      watch_ = std::make_unique<StepWatch>(*model_);
    }
    last_bad_ = 0;
    bool go_on = true;
    for (epoch_ = 0; epoch_ < setup_.epochs && go_on; ++epoch_) {
      loader_->start_epoch(epoch_);
      batch_ = 0;
      while (go_on) {
        const double t0 = seconds_now();
        const BatchSlot* slot = loader_->next();
        if (slot == nullptr) {
          break;
        }
        window_.data += seconds_now() - t0;
        // The first step, and every watch_every_ steps after it.
        const bool watched = watch_ != nullptr && trainer_->steps() % watch_every_ == 0;
        if (watched) {
          watch_->begin();
        }
        const StepResult r = step(*slot, epoch_);
        if (watched) {
          watch_row();
        }
        after_step(r, *slot, log_every);
        ++batch_;
        const int64_t t = trainer_->steps();
        const bool last = t == setup_.total_steps;
        if (events_.stop_requested()) {
          reason_ = StopReason::signal;
          result_.interrupted = true;
          go_on = false;
        } else if (!last && out_of_time()) {
          reason_ = StopReason::max_time;
          go_on = false;
          check();
        } else if (t % check_every == 0 || last) {
          go_on = check();
        }
        if (go_on && !last && save_due()) {
          try_to_save([&] { save_checkpoint(); });
        }
      }
    }
    result_.steps = trainer_->steps();
    result_.epochs = result_.steps / setup_.steps_per_epoch;
    result_.train_seconds = seconds_now() - train_start_;
    result_.images_per_second = step_seconds_ > 0 ? static_cast<double>(samples_) / step_seconds_ : 0;
  }

  void after_step(const StepResult& r, const BatchSlot& slot, int64_t log_every) {
    const int64_t t = trainer_->steps();
    smooth_.add(r.loss);
    window_.loss += r.loss * static_cast<double>(slot.n);
    epoch_loss_ += r.loss * static_cast<double>(slot.n);
    epoch_samples_ += slot.n;
    window_.samples += slot.n;
    ++window_.steps;
    window_.clipped += r.clipped ? 1 : 0;
    window_.forward += r.forward;
    window_.backward += r.backward;
    window_.optimizer += r.optimizer;
    samples_ += slot.n;
    for (int64_t i = 0; i < slot.n; ++i) {
      digest_->add(slot.id[static_cast<size_t>(i)]);
    }
    last_ = r;
    last_losses_.push_back(r.loss);
    last_norms_.push_back(r.gradient_norm);
    if (last_losses_.size() > 100) {
      last_losses_.pop_front();
      last_norms_.pop_front();
    }
    const double now = seconds_now();
    const double since = now - (last_step_end_ > 0 ? last_step_end_ : train_start_);
    step_seconds_ += since;
    last_step_end_ = now;
    if (t % log_every == 0) {
      log_row();
    }
    const bool epoch_end = t % setup_.steps_per_epoch == 0;
    if (now - last_progress_ >= 0.05 || epoch_end) {
      last_progress_ = now;
      progress("train", t);
    }
    report_bad_samples();
  }

  void watch_row() {
    const double begin = seconds_now();
    JsonValue row = JsonValue::object();
    row["kind"] = "watch";
    row["step"] = trainer_->steps();
    row["epoch"] = static_cast<double>(trainer_->steps()) / static_cast<double>(setup_.steps_per_epoch);
    row["layers"] = watch_->end();
    watch_seconds_since_ += seconds_now() - begin;
    try_to_save([&] { record_->metrics(row); });
  }

  void report_bad_samples() {
    const std::vector<BadSample>& bad = loader_->bad_samples();
    for (; last_bad_ < bad.size(); ++last_bad_) {
      const BadSample& b = bad[last_bad_];
      warn(b.path + " cannot be read (" + b.detail + "); " +
           (b.action == "substitute" ? "another picture takes its place" : "it is left out"));
    }
  }

  void log_row() {
    const int64_t t = trainer_->steps();
    const auto samples = static_cast<double>(window_.samples);
    JsonValue row = JsonValue::object();
    row["kind"] = "train";
    row["step"] = t;
    row["epoch"] = static_cast<double>(t) / static_cast<double>(setup_.steps_per_epoch);
    row["samples"] = samples_;
    row["loss"] = window_.loss / samples;
    row["lr"] = last_.lr;
    row["momentum"] = last_.momentum;
    row["grad_norm"] = last_.gradient_norm;
    row["clipped"] = window_.clipped;
    row["skipped"] = 0;
    const double seconds = window_.data + window_.forward + window_.backward + window_.optimizer;
    JsonValue timing = JsonValue::object();
    timing["step"] = t;
    timing["data"] = window_.data;
    timing["forward"] = window_.forward;
    timing["backward"] = window_.backward;
    timing["optimizer"] = window_.optimizer;
    timing["reduce"] = 0.0;
    timing["check"] = check_seconds_since_;
    timing["save"] = save_seconds_since_;
    if (watch_) {
      timing["watch"] = watch_seconds_since_;
      watch_seconds_since_ = 0;
    }
    timing["images_per_second"] = seconds > 0 ? samples / seconds : 0;
    timing["rss"] = resident_bytes();
    check_seconds_since_ = save_seconds_since_ = 0;
    const double loss = window_.loss / samples;
    window_ = {};
    try_to_save([&] {
      record_->metrics(row);
      record_->timing(timing);
      record_->scalar("train/loss", t, loss);
      record_->scalar("train/lr", t, last_.lr);
      record_->scalar("train/grad_norm", t, last_.gradient_norm);
    });
  }

  void progress(const char* phase, int64_t t) {
    RunProgress p;
    p.epoch = std::min(setup_.epochs, (t - 1) / setup_.steps_per_epoch + 1);
    p.epochs = setup_.epochs;
    p.step = t;
    p.steps = setup_.total_steps;
    p.step_in_epoch = t - (p.epoch - 1) * setup_.steps_per_epoch;
    p.steps_per_epoch = setup_.steps_per_epoch;
    p.loss = smooth_.value();
    p.lr = last_.lr;
    p.seconds = seconds_now() - train_start_;
    const double each = t > 0 ? step_seconds_ / static_cast<double>(t) : 0;
    rate_.emplace_back(seconds_now(), samples_);
    while (rate_.size() > 2 && rate_.back().first - rate_.front().first > 5) {
      rate_.pop_front();
    }
    const double span = rate_.back().first - rate_.front().first;
    p.images_per_second = span > 0 ? static_cast<double>(rate_.back().second - rate_.front().second) / span
                                   : plan_.images_per_second;
    p.seconds_left_epoch = each * static_cast<double>(setup_.steps_per_epoch - p.step_in_epoch);
    p.seconds_left = each * static_cast<double>(setup_.total_steps - t) +
                     check_time_ * static_cast<double>(setup_.epochs - p.epoch + 1);
    if (setup_.options.run.max_time) {
      p.seconds_left = std::min(p.seconds_left, std::max(0.0, setup_.options.run.max_time->seconds() - (seconds_now() - start_)));
    }
    p.phase = phase;
    events_.on_progress(p);
  }

  bool out_of_time() const {
    if (!setup_.options.run.max_time) {
      return false;
    }
    BudgetFacts facts;
    facts.elapsed = seconds_now() - start_;
    facts.step_time = step_seconds_ / static_cast<double>(std::max<int64_t>(1, trainer_->steps()));
    // What ends a run: a check, the test part, the report.
    const double per_image = plan_.images_per_second > 0 ? 0.4 / plan_.images_per_second : 0;
    const double check = check_time_ > 0 ? check_time_ : per_image * static_cast<double>(plan_.val_images);
    const double ratio = plan_.val_images > 0 ? static_cast<double>(plan_.test_images) / static_cast<double>(plan_.val_images) : 0;
    const double test = plan_.val_images > 0 ? check * ratio : per_image * static_cast<double>(plan_.test_images);
    facts.check_time = check + test + 1.5;
    facts.save_time = std::max(save_time_, 0.1);
    return !fits_budget(facts, setup_.options.run.max_time->seconds());
  }

  EvaluateOptions evaluate_options() {
    EvaluateOptions e;
    e.device = device_;
    e.classes = setup_.model.num_classes;
    return e;
  }

  // Evaluates the validation part and decides. False: stop.
  bool check() {
    const int64_t t = trainer_->steps();
    const double train_loss = epoch_samples_ > 0 ? epoch_loss_ / static_cast<double>(epoch_samples_) : 0;
    epoch_loss_ = 0;
    epoch_samples_ = 0;
    if (val_ == nullptr) {
      return true;
    }
    const double begin = seconds_now();
    PredictionTable table = evaluate_loader(*model_, *val_, evaluate_options());
    training_mode();
    const Metrics metrics = compute_metrics(table);
    const double value = metrics.value(setup_.monitor);
    CheckValue check_value;
    check_value.value = value;
    check_value.epoch = t / setup_.steps_per_epoch;
    check_value.step = t;
    const StopDecision decision = update_early_stopping(setup_.stopping, stopping_, check_value);
    check_time_ = seconds_now() - begin;
    check_seconds_since_ += check_time_;
    if (decision.new_best) {
      best_ = WeightsCopy(*model_);
      best_epoch_ = (t + setup_.steps_per_epoch - 1) / setup_.steps_per_epoch;
      best_step_ = t;
      best_value_ = value;
      best_metrics_ = named_metrics(metrics);
      best_table_ = std::move(table);
    }
    record_check("val", metrics, &decision, train_loss);
    RunCheck c;
    c.epoch = (t + setup_.steps_per_epoch - 1) / setup_.steps_per_epoch;
    c.epochs = setup_.epochs;
    c.step = t;
    c.split = "val";
    c.metrics = named_metrics(metrics);
    c.train_loss = train_loss;
    c.lr = last_.lr;
    c.monitor = setup_.options.stop.monitor;
    c.value = value;
    c.best = stopping_.best.value_or(value);
    c.reference = stopping_.reference.value_or(value);
    c.best_epoch = best_epoch_;
    c.improved = decision.new_best;
    c.wait = stopping_.wait;
    c.patience = setup_.stopping.patience.value_or(0);
    c.seconds = seconds_now() - train_start_;
    csv_.push_back({c.epoch, t, last_.lr, train_loss, c.metrics});
    events_.on_check(c);
    if (decision.new_best && setup_.options.stop.restore == "best") {
      try_to_save([&] { save_model_folder(best_epoch_, best_step_, value); });
    }
    last_step_end_ = seconds_now();  // the time of a check is not the next step's
    if (decision.stop) {
      reason_ = decision.reason;
      return false;
    }
    return true;
  }

  void record_check(const std::string& split, const Metrics& metrics, const StopDecision* decision, double train_loss) {
    const int64_t t = split == "val" ? trainer_->steps() : (best_step_ > 0 ? best_step_ : trainer_->steps());
    JsonValue row = JsonValue::object();
    row["kind"] = "check";
    row["step"] = t;
    row["epoch"] = static_cast<double>(t) / static_cast<double>(setup_.steps_per_epoch);
    row["split"] = split;
    add_metrics(row, metrics);
    if (decision != nullptr) {
      row["train_loss"] = train_loss;
      row["wait"] = stopping_.wait;
      row["reference"] = stopping_.reference ? JsonValue(*stopping_.reference) : JsonValue();
      row["best"] = stopping_.best ? JsonValue(*stopping_.best) : JsonValue();
      row["improved"] = decision->improved;
      row["ids"] = digest_->json();
      digest_->clear();
    }
    try_to_save([&] {
      record_->metrics(row);
      for (const auto& [name, value] : named_metrics(metrics)) {
        record_->scalar(split + "/" + name, t, value);
      }
      if (decision != nullptr) {
        record_->scalar("train/epoch_loss", t, train_loss);
      }
      if (decision != nullptr && decision->new_best) {
        record_decision("best", setup_.options.stop.monitor, best_value_);
      }
      record_->sync();
    });
  }

  void record_decision(const std::string& what, const std::string& reason, double value) {
    JsonValue row = JsonValue::object();
    row["kind"] = "decision";
    row["step"] = trainer_->steps();
    row["what"] = what;
    row["reason"] = reason;
    JsonValue values = JsonValue::object();
    if (stopping_.best) {
      values[setup_.options.stop.monitor] = value;
    }
    row["values"] = std::move(values);
    record_->metrics(row);
  }

  // A failed save does not end training at once: the next one may find room. Three in a row do.
  template <class Fn>
  void try_to_save(const Fn& save) {
    const double begin = seconds_now();
    try {
      save();
      failed_saves_ = 0;
    } catch (const StorageError& e) {
      if (++failed_saves_ >= 3) {
        throw;
      }
      events_.on_warning(std::string(e.what()) + "; training goes on, the next save tries again");
    }
    save_time_ = std::max(save_time_, seconds_now() - begin);
    save_seconds_since_ += seconds_now() - begin;
  }

  bool save_due() const {
    const Duration& every = setup_.options.save.every;
    if (every.is_time()) {
      return seconds_now() - last_save_ >= every.seconds();
    }
    return trainer_->steps() % std::max<int64_t>(1, every.steps(setup_.steps_per_epoch, setup_.total_steps)) == 0;
  }

  void save_checkpoint() {
    last_save_ = seconds_now();
    const int64_t t = trainer_->steps();
    if (t == 0 || t == saved_step_) {
      return;
    }
    FileSystem& fs = folder_->fs();
    const std::filesystem::path root = folder_->path() / "checkpoints";
    make_folders(fs, root);
    const std::string digits = std::to_string(t);
    const std::string name = "step-" + std::string(9 - std::min<size_t>(9, digits.size()), '0') + digits;
    // Written beside and renamed: a folder of that name is complete.
    const std::filesystem::path open = root / (".tmp-" + name);
    make_folders(fs, open);
    save_weights(fs, open / "model.safetensors", *model_);
    const int renamed = fs.rename(open, root / name);
    if (renamed < 0) {
      throw StorageError(detail::message("run", "cannot rename ", open.string()), -renamed);
    }
    fs.fsync_dir(root);
    saved_step_ = t;
    record_->event("save", t, "checkpoints/" + name);
    std::vector<FolderEntry> entries;
    if (fs.readdir(root, entries) >= 0) {
      std::vector<std::string> old;
      for (const FolderEntry& e : entries) {
        if (e.name.rfind("step-", 0) == 0) {
          old.push_back(e.name);
        }
      }
      std::sort(old.begin(), old.end());
      const auto keep = static_cast<size_t>(setup_.options.save.keep_last);
      for (size_t i = 0; i + keep < old.size(); ++i) {
        std::error_code ignored;
        std::filesystem::remove_all(root / old[i], ignored);
      }
    }
  }

  void save_model_folder(int64_t epoch, int64_t step, double value) {
    SavedModelInfo info;
    info.model = setup_.model;
    info.classes = setup_.data.classes;
    info.eval_pipeline = setup_.eval.text();
    info.normalize = setup_.eval.normalize();
    const RunOptions& o = setup_.options;
    info.data.source = o.data.source;
    info.data.format = o.data.format;
    info.data.cifar_labels = o.data.cifar_labels;
    info.data.split_val = o.data.split_val;
    info.data.split_test = o.data.split_test;
    info.data.limit = o.data.limit;
    info.seed = o.run.seed;
    info.epoch = epoch;
    info.step = step;
    info.monitor = val_ ? o.stop.monitor : "";
    info.value = value;
    save_model(folder_->fs(), folder_->path() / "model", *model_, info);
  }

  void finish(StopReason reason) {
    events_.on_phase("saving");
    reason_ = reason;
    result_.reason = std::string(stop_reason_name(reason));
    result_.steps = trainer_->steps();
    save_checkpoint();
    const bool restore = setup_.options.stop.restore == "best" && !best_.empty();
    if (restore) {
      best_.restore(*model_);
    } else {
      best_step_ = trainer_->steps();
      best_epoch_ = (best_step_ + setup_.steps_per_epoch - 1) / setup_.steps_per_epoch;
    }
    result_.best_epoch = best_epoch_;
    result_.best_step = best_step_;
    result_.val = best_metrics_;
    if (trainer_->steps() > 0) {
      save_model_folder(best_epoch_, best_step_, best_value_);
    }
    record_decision("stop", result_.reason, best_value_);
    const std::filesystem::path predictions = folder_->path() / "predictions";
    if (best_table_.size() > 0 && restore) {
      make_folders(folder_->fs(), predictions);
      write_table(predictions / "val.safetensors", best_table_, "val");
    }
    if (reason != StopReason::signal && reason != StopReason::non_finite) {
      if (const std::unique_ptr<Loader> test = evaluation(Role::test)) {
        events_.on_phase("evaluating the test part");
        PredictionTable table = evaluate_loader(*model_, *test, evaluate_options());
        const Metrics metrics = compute_metrics(table);
        record_check("test", metrics, nullptr, 0);
        result_.test = named_metrics(metrics);
        make_folders(folder_->fs(), predictions);
        write_table(predictions / "test.safetensors", table, "test");
        add_bad(test->bad_samples());
      }
    }
    add_bad(loader_->bad_samples());
    if (val_) {
      add_bad(val_->bad_samples());
    }
    result_.bad_samples = static_cast<int64_t>(bad_.size());
    std::vector<BadSample> bad;
    for (const auto& [id, sample] : bad_) {
      bad.push_back(sample);
    }
    folder_->write("bad_samples.csv", bad_samples_csv(bad));
    folder_->write("metrics.csv", metrics_csv(csv_));
    record_->event(result_.interrupted ? "signal" : "end", trainer_->steps(), result_.reason);
    record_->close();
    events_.on_phase("writing report");
    result_.report = write_report(folder_->path(), setup_.data);
    result_.seconds = seconds_now() - start_;
  }

  void write_table(const std::filesystem::path& path, PredictionTable& table, const std::string& split) {
    table.metadata["split"] = split;
    table.metadata["model"] = setup_.model.name;
    table.metadata["step"] = std::to_string(best_step_);
    if (table.logits.size() > (size_t{64} << 20)) {
      table.logits.clear();
    }
    write_predictions(folder_->fs(), path, table);
  }

  void add_bad(const std::vector<BadSample>& samples) {
    for (const BadSample& b : samples) {
      bad_.emplace(b.id, b);
    }
  }

  double start_;
  RunEvents& events_;
  torch::Device device_ = torch::kCPU;
  RunSetup setup_;
  std::shared_ptr<Model> model_;
  Layout layout_ = Layout::chw;
  FreezeReport frozen_;
  std::vector<ParamGroup> groups_;
  std::unique_ptr<Trainer> trainer_;
  std::unique_ptr<Loader> loader_, val_;
  std::unique_ptr<StepWatch> watch_;
  int64_t watch_every_ = 0;
  std::vector<std::string> drop_warnings_;
  RunPlan plan_;
  std::vector<LayerRow> layers_;
  std::unique_ptr<RunFolder> folder_;
  std::unique_ptr<RunRecord> record_;
  std::vector<std::string> early_warnings_;

  StopReason reason_ = StopReason::completed;
  RunResult result_;
  EarlyStoppingState stopping_;
  WeightsCopy best_;
  int64_t best_epoch_ = 0, best_step_ = 0;
  double best_value_ = 0;
  std::vector<std::pair<std::string, double>> best_metrics_;
  PredictionTable best_table_;
  std::vector<CsvRow> csv_;
  std::map<uint64_t, BadSample> bad_;
  size_t last_bad_ = 0;

  int64_t epoch_ = 0, batch_ = 0, samples_ = 0;
  StepResult last_;
  SmoothLoss smooth_;
  Window window_;
  double epoch_loss_ = 0;
  int64_t epoch_samples_ = 0;
  std::unique_ptr<SampleDigest> digest_;
  std::deque<double> last_losses_, last_norms_;
  std::deque<std::pair<double, int64_t>> rate_;
  double train_start_ = 0, last_progress_ = 0, last_step_end_ = 0, step_seconds_ = 0;
  double check_time_ = 0, check_seconds_since_ = 0, save_seconds_since_ = 0, watch_seconds_since_ = 0, save_time_ = 0, last_save_ = 0;
  int64_t saved_step_ = 0;
  int failed_saves_ = 0;
};

}  // namespace

RunResult run_training(const RunOptions& options, RunEvents& events) { return Run(options, events).run(); }

}  // namespace ballast
