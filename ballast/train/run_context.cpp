#include <ballast/train/run_context.h>

#include <algorithm>
#include <chrono>

#include <ATen/Functions.h>

#include <ballast/base/check.h>
#include <ballast/init/lsuv.h>
#include <ballast/models/model.h>
#include <ballast/report/table.h>
#include <ballast/train/machine.h>
#include <ballast/train/pretrained.h>
#include <ballast/train/tensor_batch.h>

namespace ballast {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

namespace {

// In steps, at least 1.
double half_life(const Duration& duration, const RunSetup& setup) {
  const double unit = duration.unit == Duration::Unit::epochs    ? static_cast<double>(setup.steps_per_epoch)
                      : duration.unit == Duration::Unit::percent ? static_cast<double>(setup.total_steps) / 100
                                                                 : 1;
  return std::max(1.0, duration.amount * unit);
}

}  // namespace

RunContext::RunContext(const RunOptions& options, RunEvents& run_events, bool resumed)
    : start(seconds_now()), events(run_events) {
  events.on_phase("reading data");
  device = find_device(options.run.device);
  set_threads(options.run.threads.value_or(0));
  setup = set_up_run(options);
  set_math(setup.options.math.level);
  const RunOptions& o = setup.options;
  model = make_model(setup.model, setup.init_key());
  setup.model = model->options();
  plan.init = setup.model.init;
  if (!resumed) {
    load_pretrained(*model, o, setup.init_key(), plan.start);
  }
  frozen = freeze(*model, o.train.freeze);
  note_frozen(frozen, plan.start);
  groups = run_groups(*model, o);
  note_groups(groups, plan.start);
  const bool channels_last = o.train.layout == "channels_last" || (o.train.layout == "auto" && model->prefers_channels_last());
  layout = channels_last ? Layout::hwc : Layout::chw;
  if (!device.is_cpu()) {
    model->to(device);
  }
  if (channels_last) {
    to_channels_last(*model);
  }
  load_teacher();
  trainer = std::make_unique<Trainer>(*model, [this](const torch::Tensor& x) { return forward(x); }, trainer_options());
  loader = training_loader(setup, layout);
  training_mode();
  if (setup.model.init == "lsuv" && plan.start.path.empty() && !resumed) {
    start_from_data();
  }
  if (!o.model.drop_schedule.empty()) {
    std::vector<StemSchedule> schedules;
    for (const std::string& text : o.model.drop_schedule) {
      schedules.push_back(parse_rate_schedule(text));
    }
    drops = std::make_unique<ScheduledDrops>(*model, schedules);
  }
  if (o.average.ema) {
    ema = std::make_unique<Ema>(*model, half_life(*o.average.ema, setup));
  }
  if (o.average.swa) {
    swa = std::make_unique<Swa>(*model);
  }
}

void RunContext::load_teacher() {
  const DistillSection& d = setup.options.distill;
  if (d.teacher.empty()) {
    return;
  }
  events.on_phase("reading the teacher");
  EnsembleOptions options;
  options.device = setup.options.run.device;
  options.threads = static_cast<int>(setup.options.run.threads.value_or(0));
  teacher = std::make_unique<Ensemble>(load_ensemble(d.teacher, options));
  check<DataError>(!teacher->several_labels(), "distill", "teacher must be of one label a picture, got several in ", d.teacher);
  const std::vector<std::string>& theirs = teacher->classes();
  check<DataError>(theirs.size() == setup.data.classes.size(), "distill",
                   "teacher must have the ", setup.data.classes.size(), " classes of the data, got ",
                   theirs.size(), " in ", d.teacher);
  for (size_t c = 0; c < theirs.size(); ++c) {
    check<DataError>(theirs[c] == setup.data.classes[c], "distill", "teacher must have the classes of the "
                     "data in their order, got \"", theirs[c], "\" for \"", setup.data.classes[c], "\" in ",
                     d.teacher);
  }
  const ModelOptions& m = setup.model;
  for (const NetInput& in : teacher->inputs()) {
    check<DataError>(in.channels == m.in_channels && in.height == m.height && in.width == m.width,
                     "distill", "teacher must take pictures of ", m.in_channels, " x ", m.height, " x ",
                     m.width, " as the student does, got ", in.channels, " x ", in.height, " x ",
                     in.width, " in ", d.teacher);
  }
  plan.teacher = d.teacher + ", " + std::to_string(teacher->members()) +
                 (teacher->members() == 1 ? " member: " : " members: ") +
                 format_significant(d.alpha, 3) + " of the loss, at temperature " +
                 format_significant(d.temperature, 3);
}

torch::Tensor RunContext::teach(const torch::Tensor& x, const Normalize& normalized) const {
  return teacher->predict(x, normalized).probability.clamp_min(1e-12).log();
}

void RunContext::warn(const std::string& text) {
  events.on_warning(text);
  if (record) {
    record->event("warning", trainer->steps(), text);
  } else {
    early_warnings.push_back(text);
  }
}

void RunContext::training_mode() {
  model->train();
  keep_frozen(*model, frozen);
}

torch::Tensor RunContext::forward(const torch::Tensor& x) {
  return watch && watch->active() ? watch->forward([&] { return model->forward(x); }, x.size(0)) : model->forward(x);
}

// LSUV, on the first training pictures.
void RunContext::start_from_data() {
  constexpr int64_t kSamples = 128;
  loader->start_epoch(0);
  std::vector<torch::Tensor> parts;
  int64_t samples = 0;
  while (samples < kSamples) {
    const BatchSlot* slot = loader->next();
    if (slot == nullptr) {
      break;
    }
    parts.push_back(tensor_batch(*slot).x.clone());
    samples += parts.back().size(0);
  }
  const torch::Tensor x = at::cat(parts).slice(0, 0, kSamples).to(device);
  const std::vector<LsuvRow> rows =
      lsuv(*model, [this](torch::Tensor in) { return model->forward(std::move(in)); }, x, {.key = setup.init_key()});
  plan.init = "lsuv on " + std::to_string(x.size(0)) + " pictures: " + lsuv_summary(rows);
}

std::unique_ptr<Loader> RunContext::evaluation(Role role) const {
  const RoleView& view = setup.data.role(role);
  if (view.size() == 0) {
    return nullptr;
  }
  return evaluation_loader(view, setup.eval, setup.model, setup.options.eval.batch_size,
                           static_cast<int>(setup.options.run.workers.value_or(-1)), layout);
}

EvaluateOptions RunContext::evaluate_options() const {
  EvaluateOptions e;
  e.device = device;
  e.classes = setup.model.num_classes;
  e.label_sets = setup.data.source->label_sets();
  return e;
}

TrainerOptions RunContext::trainer_options() const {
  const RunOptions& o = setup.options;
  TrainerOptions t;
  t.optimizer.name = o.optim.name;
  t.optimizer.weight_decay = *o.optim.weight_decay;
  t.optimizer.momentum = o.optim.momentum;
  t.optimizer.nesterov = o.optim.nesterov && o.optim.momentum > 0;
  t.optimizer.beta1 = o.optim.betas.at(0);
  t.optimizer.beta2 = o.optim.betas.at(1);
  t.optimizer.eps = o.optim.eps;
  t.optimizer.groups = groups;
  t.schedule = setup.schedule;
  t.total_steps = setup.total_steps;
  t.micro_batch = o.train.micro_batch;
  t.loss = o.loss.name == "bce" ? LossName::bce : o.loss.name == "focal" ? LossName::focal : LossName::cross_entropy;
  if (setup.data.several_labels()) {
    t.label_sets = label_matrix(setup.data.source->label_sets(), setup.model.num_classes);
    t.mix_union = o.augment.mix_multi_label == "union";
  }
  t.focal_gamma = o.loss.gamma;
  t.label_smoothing = *o.loss.label_smoothing;
  if (teacher) {
    // It sees what the student sees: the augmented picture, mixed or not (arXiv:2106.05237).
    t.teacher = [this](const torch::Tensor& x) { return teach(x, setup.train.normalize()); };
  }
  t.distill_alpha = o.distill.alpha;
  t.distill_temperature = o.distill.temperature;
  t.seed = o.run.drop_seed.value_or(o.run.seed);
  t.clip = !o.train.clip ? ClipMode::off : o.train.clip_mode() == "norm" ? ClipMode::norm
           : o.train.clip_mode() == "agc" ? ClipMode::agc : ClipMode::value;
  t.head = model->classifier();
  t.hold_from = setup.swa_from;
  t.hold_lr = o.average.swa_lr.value_or(0);
  t.bf16 = o.train.precision == "bf16";
  t.clip_limit = o.train.clip ? o.train.clip_limit() : 1;
  return t;
}

}  // namespace ballast
