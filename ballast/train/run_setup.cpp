#include <ballast/train/run_setup.h>

#include <algorithm>
#include <filesystem>

#include <ballast/augment/crop_views.h>
#include <ballast/augment/presets.h>
#include <ballast/base/check.h>
#include <ballast/train/allocator.h>
#include <ballast/train/defaults.h>
#include <ballast/train/metrics.h>

namespace ballast {
namespace {

std::string data_name(const std::string& source) {
  const std::filesystem::path path = std::filesystem::path(source).lexically_normal();
  const std::string name = path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
  return name.empty() || name == "." || name == ".." ? "data" : name;
}

bool is_default(const RunOptions& o, const char* key) {
  const auto it = o.origins.find(key);
  return it == o.origins.end() || it->second == "default";
}

// Replaces an `auto` by its value and notes why.
template <class T>
void resolve(RunOptions& o, Auto<T>& field, const char* key, const T& value, const std::string& why) {
  if (field.is_auto()) {
    field = Auto<T>(value);
    o.origins[key] = "auto: " + why;
  }
}

LrScheduleOptions schedule_options(const RunOptions& o, int64_t steps_per_epoch, int64_t total) {
  LrScheduleOptions s;
  const std::string& name = *o.schedule.name;
  s.name = name == "constant"    ? LrScheduleName::constant
           : name == "step"      ? LrScheduleName::step
           : name == "multistep" ? LrScheduleName::multistep
           : name == "one_cycle" ? LrScheduleName::one_cycle
           : name == "poly"      ? LrScheduleName::poly
           : name == "plateau"   ? LrScheduleName::plateau
                                 : LrScheduleName::cosine;
  s.lr = *o.optim.lr;
  s.min_lr = o.schedule.min_lr;
  s.warmup_steps = s.name == LrScheduleName::one_cycle ? 0 : std::min(o.schedule.warmup->steps(steps_per_epoch, total), total - 1);
  s.warmup_lr = o.schedule.warmup_lr;
  s.cycles = o.schedule.cycles;
  s.cycle_mult = o.schedule.cycle_mult;
  s.cycle_decay = o.schedule.cycle_decay;
  s.every = std::max<int64_t>(1, o.schedule.every.steps(steps_per_epoch, total));
  s.gamma = o.schedule.gamma;
  for (const std::string& text : o.schedule.milestones) {
    const int64_t at = Duration::parse(text, Duration::Unit::epochs).steps(steps_per_epoch, total);
    s.milestones.push_back(std::max<int64_t>(0, at - s.warmup_steps));
  }
  std::sort(s.milestones.begin(), s.milestones.end());
  s.power = o.schedule.power;
  s.pct_start = o.schedule.pct;
  s.div = o.schedule.div;
  s.final_div = o.schedule.final_div;
  s.per_epoch = o.schedule.per == "epoch";
  s.steps_per_epoch = steps_per_epoch;
  check_lr_schedule(s);
  return s;
}

MixOptions mix_options(const AugmentSection& o) {
  MixOptions m;
  m.mixup_alpha = *o.mixup_alpha;
  m.cutmix_alpha = *o.cutmix_alpha;
  if (!o.cutmix_minmax.empty()) {
    check(o.cutmix_minmax.size() == 2, "cutmix", "cutmix_minmax must be two numbers, got ", o.cutmix_minmax.size());
    m.cutmix_minmax = {o.cutmix_minmax[0], o.cutmix_minmax[1]};
  }
  m.prob = o.mix_prob;
  m.switch_prob = o.mix_switch_prob;
  m.mode = parse_mix_mode(o.mix_mode);
  m.off_epoch = o.mix_off_epoch > 0 ? o.mix_off_epoch : -1;
  return m;
}

void resolve_pipelines(RunSetup& setup, const Defaults& d) {
  RunOptions& o = setup.options;
  const DataSet& data = setup.data;
  // Gray pictures may be digits or letters, which a mirror changes; clothes are not.
  const bool clothes = data.channels == 1 && o.data.source == "fashion-mnist";
  const PresetFacts facts{.height = static_cast<int32_t>(d.height), .width = static_cast<int32_t>(d.width),
                          .channels = data.channels, .source_height = data.height, .source_width = data.width,
                          .gray_flips = clothes};
  const std::string train = train_preset(o.augment.preset, facts);
  std::string why = "preset " + o.augment.preset;
  if (o.augment.preset != "none" && clothes) why += ", with flips since clothes may face either way";
  const bool strong = o.augment.preset == "strong" && o.augment.train.is_auto();
  resolve(o, o.augment.train, "augment.train", train, why);
  const std::string mix_why = "preset " + o.augment.preset;
  resolve(o, o.augment.mixup_alpha, "augment.mix.mixup_alpha", strong ? 0.2 : 0.0, mix_why);
  resolve(o, o.augment.cutmix_alpha, "augment.mix.cutmix_alpha", strong ? 1.0 : 0.0, mix_why);
  check_mix(mix_options(o.augment), static_cast<int64_t>(data.classes.size()));
  resolve(o, o.augment.eval, "augment.eval", eval_preset(facts), "the model's input size");
  const Normalize normalize = named_normalize(o.augment.normalize, data);
  setup.train = Pipeline::parse(*o.augment.train);
  setup.eval = Pipeline::parse(*o.augment.eval);
  setup.train.set_normalize(normalize);
  setup.train.set_semantics(o.augment.semantics == "sequential" ? Semantics::sequential : Semantics::fused);
  setup.eval.set_normalize(normalize);
  for (const Pipeline* p : {&setup.train, &setup.eval}) {
    check(crop_views(*p).size() == 1, "augment", "five_crop and ten_crop go with eval --tta and predict --tta, got \"",
          p->text(), '"');
  }
  if (const std::optional<std::string> drawn = setup.eval.random_step()) {
    throw std::invalid_argument("[augment] eval must give one result for each picture, got \"" + *drawn +
                                "\", which draws; it belongs to augment.train");
  }
  const auto size = setup.eval.output_size();
  const auto train_size = setup.train.output_size();
  check(!size || !train_size || size == train_size, "augment", "train and eval must give pictures of one size, got ",
        train_size ? train_size->first : 0, "x", train_size ? train_size->second : 0, " and ", size ? size->first : 0, "x",
        size ? size->second : 0);
  if (o.augment.off_last > 0 && train_size) {
    const auto late = setup.train.plain().output_size();
    check(late == train_size, "augment", "off_last needs a crop, resize or pad of fixed size at the end of augment.train, got ",
          setup.train.text());
  }
  const auto known = size ? size : train_size;
  setup.model.height = known ? known->first : d.height;
  setup.model.width = known ? known->second : d.width;
}

void check_monitor(const RunSetup& setup, const std::string& monitor) {
  const bool several = setup.data.several_labels();
  const std::vector<std::string>& known = metric_names(several);
  std::string names;
  for (const std::string& name : known) names += (names.empty() ? "val/" : ", val/") + name;
  check(monitor.rfind("val/", 0) != 0 || std::ranges::find(known, monitor.substr(4)) != known.end(), "stop",
        "monitor must be a metric of pictures with ", several ? "several labels" : "one label", ", as ", setup.data_name, " has them: ",
        names, ", got ", monitor);
}

/// What pictures of several labels, or of one, ask for.
void resolve_labels(RunSetup& setup) {
  RunOptions& o = setup.options;
  if (setup.data.several_labels()) {
    const std::string why = "several labels a picture";
    // C++ may set a value without an origin.
    if (is_default(o, "loss.name") && o.loss.name == LossSection().name) {
      o.loss.name = "bce";
      o.origins["loss.name"] = "auto: " + why;
    }
    check(o.loss.name == "bce", "loss", "name must be bce for pictures of several labels, got ", o.loss.name);
    if (is_default(o, "stop.monitor") && o.stop.monitor == StopSection().monitor) {
      o.stop.monitor = "val/loss";
      o.origins["stop.monitor"] = "auto: " + why;
    }
    resolve(o, o.loss.label_smoothing, "loss.label_smoothing", 0.0, why);
    check(o.distill.teacher.empty(), "distill", "teacher must be of pictures with one label, got data of several labels");
  } else {
    check(o.augment.mix_multi_label == "linear", "mix", "multi_label must be linear for pictures of one label, got ",
          o.augment.mix_multi_label);
  }
  check_monitor(setup, o.stop.monitor);
  for (const std::string& monitor : o.stop.also) check_monitor(setup, monitor);
}

}  // namespace

Normalize named_normalize(const std::string& name, const DataSet& data) {
  if (name == "imagenet") {
    Normalize all = imagenet_normalize();
    if (data.channels == 1) {  // the gray picture's: the mean of the three
      auto mean = [](const std::vector<float>& v) { return std::vector<float>{(v[0] + v[1] + v[2]) / 3}; };
      return {mean(all.mean), mean(all.std)};
    }
    return all;
  }
  if (name == "none") {
    return {{0}, {1}};
  }
  check(name == "dataset", "augment", "normalize must be dataset, imagenet or none, got \"", name, "\"");
  return data.normalize;
}

RunSetup set_up_run(const RunOptions& options) {
  const std::vector<std::string> conflicts = find_conflicts(options);
  std::string all;
  for (const std::string& c : conflicts) {
    all += (all.empty() ? "" : "; ") + c;
  }
  check(conflicts.empty(), "run", all);

  RunSetup setup;
  setup.options = options;
  RunOptions& o = setup.options;
  DataOptions data = data_options(o);
  if (is_default(o, "data.split.val")) {
    // A twentieth is enough to choose by where there are many pictures, and the rest trains.
    const std::shared_ptr<const Source> source = open_source(data);
    int64_t train = 0;
    for (int64_t i = 0; i < source->size(); ++i) {
      train += source->role(i).value_or(Role::train) == Role::train ? 1 : 0;
    }
    if (train > 10'000) {
      data.split_val = o.data.split_val = 0.05;
      o.origins["data.split.val"] = "auto: over 10,000 pictures";
    }
  }
  setup.data = open_data(data, setup.key());
  release_free_memory();
  setup.data_name = data_name(o.data.source);
  resolve_labels(setup);

  const FixedChoices fixed{.model = o.model.name.value_or(""), .image_size = o.data.image_size.value_or(0),
                           .batch_size = o.train.batch_size, .optimizer = o.optim.name,
                           .schedule = o.schedule.name.value_or("")};
  const DataFacts facts{.train_images = setup.data.train_size(),
                        .classes = static_cast<int64_t>(setup.data.classes.size()), .channels = setup.data.channels,
                        .height = setup.data.height, .width = setup.data.width};
  const Defaults d = choose_defaults(facts, fixed);
  const std::string by_size = std::to_string(facts.train_images) + " pictures of " + std::to_string(facts.height) + "x" +
                              std::to_string(facts.width);
  resolve(o, o.model.name, "model.name", d.model, by_size);
  resolve_pipelines(setup, d);
  resolve(o, o.data.image_size, "data.image_size", std::max(setup.model.height, setup.model.width), by_size);
  resolve(o, o.train.epochs, "train.epochs", d.epochs, by_size);
  resolve(o, o.schedule.name, "schedule.name", d.schedule, "for " + o.optim.name);
  resolve(o, o.schedule.warmup, "schedule.warmup", Duration{100 * d.warmup_share, Duration::Unit::percent},
          "for " + *o.schedule.name);
  resolve(o, o.optim.lr, "optim.lr", d.lr, "for " + o.optim.name + ", batch " + std::to_string(o.train.batch_size));
  if (o.average.swa) {
    resolve(o, o.average.swa_lr, "average.swa_lr", *o.optim.lr / 2, "half of optim.lr");
  }
  resolve(o, o.optim.weight_decay, "optim.weight_decay", d.weight_decay, "for " + o.optim.name);
  resolve(o, o.loss.label_smoothing, "loss.label_smoothing", d.label_smoothing, "default recipe");

  setup.model.name = *o.model.name;
  setup.model.in_channels = setup.data.channels;
  setup.model.num_classes = static_cast<int64_t>(setup.data.classes.size());
  setup.model.norm = o.model.norm;
  setup.model.init = o.model.init;
  setup.model.act = o.model.act;
  setup.model.drop = o.model.drop;
  setup.model.spatial_dropout = o.model.spatial_dropout;
  setup.model.alpha_dropout = o.model.alpha_dropout;
  setup.model.drop_connect = o.model.drop_connect;
  setup.model.drop_block = o.model.drop_block;
  setup.model.drop_path = o.model.drop_path;
  setup.model.patch_dropout = o.model.patch_dropout;
  setup.model.shake_drop = o.model.shake_drop;
  setup.model.drop_rate = o.model.drop_rate;

  const int64_t n = setup.data.train_size();
  const int64_t batch = o.train.batch_size;
  setup.drops_single = n % batch == 1;
  setup.steps_per_epoch = (n + batch - 1) / batch - (setup.drops_single ? 1 : 0);
  check<DataError>(setup.steps_per_epoch >= 1, "run", "training needs at least 2 pictures, got ", n);
  setup.epochs = *o.train.epochs;
  setup.total_steps = setup.epochs * setup.steps_per_epoch;
  setup.schedule = schedule_options(o, setup.steps_per_epoch, setup.total_steps);
  if (o.average.swa) {
    // At least the last epoch counts.
    setup.swa_from = std::min(o.average.swa->steps(setup.steps_per_epoch, setup.total_steps),
                              setup.total_steps - setup.steps_per_epoch);
  }

  const std::string prefix = "val/";
  check(o.stop.monitor.rfind(prefix, 0) == 0, "stop",
        "monitor must be a metric of the validation part (val/...), got \"", o.stop.monitor,
        "\"; choosing by the test part would spoil it");
  setup.monitor = o.stop.monitor.substr(prefix.size());
  setup.stopping = stopping_options(o.stop);
  setup.all_stopping = all_stopping_options(o.stop);
  for (const std::string& monitor : o.stop.also) {
    setup.also.push_back(monitor.substr(prefix.size()));
  }
  if (*o.schedule.name == "plateau") {
    setup.plateau = plateau_options(o);
    check(setup.data.role(Role::val).size() > 0, "schedule", "plateau needs a validation part; give data.split.val > 0 or a val folder");
  }
  check(setup.data.role(Role::val).size() > 0 || !o.stop.patience, "stop",
        "patience needs a validation part; give data.split.val > 0 or a val folder");

  setup.hints.push_back("longer: --epochs " + std::to_string(2 * setup.epochs));
  if (options.data.image_size.is_auto() && std::min(facts.height, facts.width) > setup.model.height) {
    const int64_t larger = std::min<int64_t>(224, std::min(facts.height, facts.width) / 32 * 32);
    if (larger > setup.model.height) {
      setup.hints.push_back("sharper pictures: --image-size " + std::to_string(larger));
    }
  }
  if (options.model.name.is_auto()) {
    setup.hints.push_back(d.model == "resnet18" ? "a larger model: --model resnet34" : "a larger model: --model resnet20");
  }
  setup.hints.push_back("within a time: --max-time 10m");
  return setup;
}

namespace {

LoaderOptions training_loader_options(const RunSetup& setup, Layout layout) {
  const RunOptions& o = setup.options;
  LoaderOptions l;
  l.batch_size = o.train.batch_size;
  l.seed = o.run.data_seed.value_or(o.run.seed);
  l.channels = static_cast<int32_t>(setup.model.in_channels);
  l.height = static_cast<int32_t>(setup.model.height);
  l.width = static_cast<int32_t>(setup.model.width);
  l.layout = layout;
  l.on_bad = parse_on_bad(o.data.on_bad);
  l.mix = mix_options(o.augment);
  if (const int64_t last = o.augment.mix_off_last; last > 0) {
    const int64_t from = std::max<int64_t>(0, setup.epochs - last);
    l.mix.off_epoch = l.mix.off_epoch < 0 ? from : std::min(l.mix.off_epoch, from);
  }
  if (o.augment.off_last > 0) l.plain_from = std::max<int64_t>(0, setup.epochs - o.augment.off_last);
  l.workers = static_cast<int>(o.run.workers.value_or(-1));
  return l;
}

}  // namespace

std::unique_ptr<Loader> training_loader(const RunSetup& setup, Layout layout) {
  return std::make_unique<Loader>(setup.data.role(Role::train), setup.train, training_loader_options(setup, layout));
}

std::unique_ptr<Loader> reestimation_loader(const RunSetup& setup, Layout layout) {
  LoaderOptions l = training_loader_options(setup, layout);
  l.seed = setup.key().fold_in("reestimate").bits();
  l.batch_size = std::max<int64_t>(l.batch_size, 128);  // norms see nearly what they will see in use
  l.mix = {};
  return std::make_unique<Loader>(setup.data.role(Role::train), setup.train, l);
}

std::unique_ptr<Loader> evaluation_loader(const RoleView& role, const Pipeline& pipeline, const ModelOptions& model,
                                          int64_t batch_size, int workers, Layout layout) {
  LoaderOptions l;
  l.batch_size = batch_size;
  l.channels = static_cast<int32_t>(model.in_channels);
  l.height = static_cast<int32_t>(model.height);
  l.width = static_cast<int32_t>(model.width);
  l.layout = layout;
  l.shuffle = false;
  l.on_bad = OnBad::skip;
  l.drop_single = false;
  l.workers = workers;
  return std::make_unique<Loader>(role, pipeline, l);
}

}  // namespace ballast
