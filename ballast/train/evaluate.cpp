#include <ballast/train/evaluate.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>

#include <ballast/base/check.h>
#include <ballast/data/data_set.h>
#include <ballast/models/model.h>
#include <ballast/train/evaluate_loader.h>
#include <ballast/train/machine.h>
#include <ballast/train/run.h>
#include <ballast/train/run_setup.h>
#include <ballast/train/saved_model.h>
#include <ballast/train/trainer.h>
#include <ballast/train/tta.h>

namespace ballast {
namespace {

/// The mean of the probabilities of tables of the same samples, whose logits are logs of probabilities; of several labels a
/// picture logits of each.
class MeanTable {
 public:
  void add(const PredictionTable& table, double weight) {
    check<DataError>(sum_.empty() || table.index == first_.index, "evaluate",
                     "views must be of the same pictures, got ", table.size(), " and ", first_.size(), " of them");
    if (sum_.empty()) first_ = table;
    sum_.resize(table.logits.size());
    for (size_t i = 0; i < sum_.size(); ++i) {
      const auto z = static_cast<double>(table.logits[i]);
      sum_[i] += weight * (table.several_labels ? 1 / (1 + std::exp(-z)) : std::exp(z));
    }
    weight_ += weight;
  }
  PredictionTable mean() {
    for (size_t i = 0; i < sum_.size(); ++i) {
      const double p = sum_[i] / weight_;
      first_.logits[i] = static_cast<float>(first_.several_labels ? std::clamp(std::log(p) - std::log1p(-p), -100.0, 100.0)
                                                                  : std::max(std::log(p), -100.0));
    }
    return std::move(first_);
  }

 private:
  PredictionTable first_;
  std::vector<double> sum_;
  double weight_ = 0;
};

}  // namespace

EvalResult evaluate_saved(const EvalOptions& options, RunEvents& events) {
  check(options.batch_size >= 1, "evaluate", "batch_size must be at least 1, got ", options.batch_size);
  check(options.temperature > 0, "evaluate", "temperature must be > 0, got ", options.temperature);
  check(options.mc >= 0, "evaluate", "mc must be at least 0, got ", options.mc);
  const bool choose = options.split == "auto";
  const std::optional<Role> asked = choose ? Role::test : options.split == "hold" ? Role::hold : parse_role(options.split);
  check(asked.has_value(), "evaluate", "split must be auto, train, val, test or hold, got \"", options.split, "\"");
  const torch::Device device = find_device(options.device);
  set_threads(options.threads);
  SavedModel saved = load_saved_model(options.model);
  if (!device.is_cpu()) {
    saved.model->to(device);
  }
  DataOptions data_options = saved.info.data;
  if (!options.data.empty()) {
    data_options = {};
    data_options.source = options.data;
  }
  check(!data_options.source.empty(), "evaluate", "data must be given: the model's config.json names none");
  events.on_phase("reading data");
  const DataSet data = open_data(data_options, Key(saved.info.seed));
  Role role = *asked;
  if (choose && data.role(Role::test).size() == 0 && data.role(Role::val).size() > 0) {
    role = Role::val;
    events.on_warning("the data has no test part: these are the figures of the validation part");
  }
  const RoleView& view = data.role(role);
  check<DataError>(view.size() > 0, "evaluate", "split must be one that ", data_options.source, " has, got ", to_string(role),
                   ", which is empty; --split names another part, DATA other pictures");
  const std::vector<int32_t> classes = class_map(data.classes, saved.info.classes);
  const LabelSets label_sets = label_sets_for(data, saved.info.classes, saved.info.several_labels);
  Pipeline pipeline = Pipeline::parse(saved.info.eval_pipeline);
  pipeline.set_normalize(saved.info.normalize);
  const bool channels_last = saved.model->prefers_channels_last();
  if (channels_last) {
    to_channels_last(*saved.model);
  }
  const TtaPlan tta = plan_tta(options.tta, pipeline);
  check(options.mc == 0 || tta.plain(), "evaluate", "tta and mc exclude each other");
  check(options.mc == 0 || !saved.info.several_labels, "evaluate", "mc must be 0 for a model of several labels a picture, got ", options.mc);
  EvaluateOptions e;
  e.device = device;
  e.classes = saved.info.model.num_classes;
  e.label_sets = label_sets;
  e.temperature = options.temperature;
  e.mc = options.mc;
  e.mc_key = Key(saved.info.seed);
  const auto start = std::chrono::steady_clock::now();
  auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  MeanTable sum;
  bool stopped = false;
  int64_t pass = 0;
  e.on_batch = [&](int64_t done) {
    RunProgress p;
    p.epoch = p.epochs = 1;
    p.step = p.step_in_epoch = pass * view.size() + done;
    p.steps = p.steps_per_epoch = view.size() * static_cast<int64_t>(tta.pictures.size());
    p.seconds = elapsed();
    p.images_per_second = static_cast<double>(p.step) / p.seconds;
    p.seconds_left = p.seconds_left_epoch = static_cast<double>(p.steps - p.step) / p.images_per_second;
    p.phase = to_string(role);
    events.on_progress(p);
    stopped = events.stop_requested();
    return !stopped;
  };
  events.on_phase("evaluating");
  EvalResult result;
  PredictionTable table;
  for (; !stopped && pass < static_cast<int64_t>(tta.pictures.size()); ++pass) {
    const auto picture = static_cast<size_t>(pass);
    if (!tta.plain()) e.views = tta.views_of(picture);
    const std::unique_ptr<Loader> loader =
        evaluation_loader(view, tta.pictures[picture], saved.info.model, options.batch_size, options.workers,
                          channels_last ? Layout::hwc : Layout::chw);
    PredictionTable one = evaluate_loader(*saved.model, *loader, e, &result.mc);
    result.bad_samples = static_cast<int64_t>(loader->bad_samples().size());
    if (tta.pictures.size() == 1) {
      table = std::move(one);
    } else if (!stopped) {
      sum.add(one, static_cast<double>(e.views.size()));
    }
  }
  if (!stopped && tta.pictures.size() > 1) table = sum.mean();
  result.seconds = elapsed();
  result.interrupted = stopped;
  result.classes = saved.info.classes;
  result.data = data_options.source;
  result.split = std::string(to_string(role));
  result.model = saved.info.model.name;
  result.views = static_cast<int64_t>(tta.views.size());
  if (stopped) {
    return result;
  }
  for (int32_t& y : table.target) {
    y = classes[static_cast<size_t>(y)];
  }
  fill_rows(table);
  result.images_per_second = static_cast<double>(table.size()) / result.seconds;
  result.metrics = compute_metrics(table);
  if (!options.predictions.empty()) {
    table.metadata["split"] = result.split;
    table.metadata["model"] = result.model;
    write_predictions(options.predictions, table);
  }
  return result;
}

}  // namespace ballast
