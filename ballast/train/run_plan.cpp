#include <ballast/train/run_plan.h>

#include <algorithm>

#include <ATen/Parallel.h>

#include <ballast/models/layer_table.h>
#include <ballast/models/model.h>
#include <ballast/probe/drop_order.h>
#include <ballast/report/table.h>
#include <ballast/train/autocast.h>
#include <ballast/train/machine.h>
#include <ballast/train/tensor_batch.h>

namespace ballast {
namespace {

std::string batch_text(int64_t batch, int64_t micro) {
  if (micro == 0 || micro >= batch) {
    return "batch " + std::to_string(batch);
  }
  const int64_t parts = (batch + micro - 1) / micro;
  return "batch " + std::to_string(batch) + " = " + std::to_string(parts) + " x " +
         std::to_string((batch + parts - 1) / parts);
}

void describe_data(const RunSetup& setup, RunPlan& p) {
  const DataSet& data = setup.data;
  p.data_name = setup.data_name;
  p.data_format = data.format;
  p.train_images = data.role(Role::train).size();
  p.val_images = data.role(Role::val).size();
  p.test_images = data.role(Role::test).size();
  p.channels = data.channels;
  p.source_height = data.height;
  p.source_width = data.width;
  p.classes = data.classes;
  p.train_pipeline = setup.train.text();
  p.eval_pipeline = setup.eval.text();
}

void describe_training(const RunContext& run, RunPlan& p) {
  const RunSetup& setup = run.setup;
  const RunOptions& o = setup.options;
  p.model = setup.model.name;
  p.height = setup.model.height;
  p.width = setup.model.width;
  const LayerTotals all = totals(layer_table(*run.model));
  p.parameters = all.params;
  p.multiply_adds = all.multiply_adds;
  p.epochs = setup.epochs;
  p.steps_per_epoch = setup.steps_per_epoch;
  p.steps = setup.total_steps;
  p.batch_size = o.train.batch_size;
  p.micro_batch = o.train.micro_batch;
  p.batch_text = batch_text(o.train.batch_size, o.train.micro_batch);
  p.optimizer = o.optim.name;
  p.schedule = *o.schedule.name;
  p.lr = *o.optim.lr;
  p.weight_decay = *o.optim.weight_decay;
  p.label_smoothing = *o.loss.label_smoothing;
  p.monitor = p.val_images > 0 ? o.stop.monitor : "";
  p.device = run.device.str();
  p.layout = run.layout == Layout::hwc ? "channels_last" : "contiguous";
  p.threads = at::get_num_threads();
  p.seed = o.run.seed;
  p.precision = o.train.precision;
  p.fingerprint = fingerprint(o.math.level, p.layout, p.device, p.precision);
  p.hints = setup.hints;
  if (!o.model.pretrained.empty() && o.origins.count("optim.lr") && o.origins.at("optim.lr").starts_with("auto")) {
    p.hints.push_back("pre-trained weights often want a smaller rate: --lr " + format_significant(p.lr / 10, 2));
  }
}

// Seconds of a step with its data, from a few steps whose effects are taken back. Returns warnings about drops.
std::vector<std::string> measure(RunContext& run, RunPlan& plan) {
  run.events.on_phase("measuring");
  const WeightsCopy before(*run.model);
  const auto forward = [&run](const torch::Tensor& x) { return run.model->forward(x); };
  Trainer probe(*run.model, forward, run.trainer_options());
  run.loader->start_epoch(0);
  double seconds = 0;
  int64_t samples = 0;
  std::vector<std::string> warnings;
  for (int i = 0; i < 4 && seconds < 3; ++i) {
    const double start = seconds_now();
    const BatchSlot* slot = run.loader->next();
    if (slot == nullptr || run.events.stop_requested()) {
      break;
    }
    const TensorBatch batch = tensor_batch(*slot);
    if (i == 0 && batch.x.size(0) >= 2) {
      const torch::Tensor few = batch.x.slice(0, 0, 32).to(run.device);
      for (const DropOrderRow& row : drop_order(*run.model, forward, few)) {
        warnings.push_back(row.text);
      }
    }
    if (batch.x.size(0) > 0) {
      probe.step(batch.x, batch.y);
    }
    if (i > 0 || run.setup.steps_per_epoch == 1) {  // the first one also warms up
      seconds += seconds_now() - start;
      samples += slot->n;
    }
  }
  before.restore(*run.model);
  if (samples > 0 && seconds > 0) {
    plan.images_per_second = static_cast<double>(samples) / seconds;
  }
  return warnings;
}

void estimate(const RunContext& run, RunPlan& plan) {
  if (plan.images_per_second <= 0) {
    return;
  }
  const double each = 1 / plan.images_per_second;
  plan.seconds_per_step = each * static_cast<double>(run.setup.options.train.batch_size);
  const double check = static_cast<double>(plan.val_images) * each / 2.5;
  const double left = static_cast<double>(std::max<int64_t>(0, plan.steps - plan.resumed_step)) /
                      static_cast<double>(std::max<int64_t>(1, plan.steps));
  plan.seconds_estimate =
      left * static_cast<double>(run.setup.epochs) * (static_cast<double>(plan.train_images) * each + check) +
      static_cast<double>(plan.test_images) * each / 2.5;
  if (run.setup.options.run.max_time) {
    plan.seconds_estimate = std::min(plan.seconds_estimate, run.setup.options.run.max_time->seconds());
  }
}

}  // namespace

void plan_run(RunContext& run, double known_speed) {
  RunPlan& p = run.plan;
  describe_data(run.setup, p);
  describe_training(run, p);
  std::vector<std::string> drop_warnings;
  p.images_per_second = known_speed;
  if (known_speed <= 0) {
    drop_warnings = measure(run, p);
  }
  estimate(run, p);
  p.workers = run.loader->workers();
  run.events.on_plan(p);
  for (const std::string& note : run.setup.data.notes) {
    run.warn(note);
  }
  for (const std::string& text : drop_warnings) {
    run.warn(text);
  }
  if (p.precision == "bf16" && run.device.is_cpu() && !cpu_has_bf16()) {
    run.warn("--precision bf16 on a processor without AMX and AVX512_BF16 is slower than fp32");
  }
  if (p.val_images == 0) {
    run.warn("there is no validation part: the last weights are kept, and nothing can stop the run early");
  }
  if (run.setup.drops_single) {
    run.warn("the last batch of each epoch would hold one picture, which batch statistics cannot use: it is left out");
  }
}

}  // namespace ballast
