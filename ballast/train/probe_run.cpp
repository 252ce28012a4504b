#include <ballast/train/probe_run.h>

#include <ballast/base/check.h>
#include <ballast/init/lsuv.h>
#include <ballast/models/probe_model.h>
#include <ballast/train/machine.h>
#include <ballast/train/pretrained.h>
#include <ballast/train/run_setup.h>
#include <ballast/train/tensor_batch.h>
#include <ballast/train/trainer.h>

namespace ballast {

ProbedRun probe_run(const RunOptions& options, const std::vector<std::string>& starts, const InitReportOptions& probe) {
  set_threads(options.run.threads.value_or(0));
  RunSetup setup = set_up_run(options);
  check(!setup.data.several_labels(), "probe", "data must have one label a picture, got several in ", setup.data_name);
  set_math(setup.options.math.level);
  ProbedRun result;
  torch::Tensor x, y;
  std::vector<std::string> names = starts;
  if (names.empty()) names.push_back(setup.model.init);
  for (const std::string& name : names) {
    ModelOptions model_options = setup.model;
    model_options.init = name;
    const std::shared_ptr<Model> model = make_model(model_options, setup.init_key());
    StartPlan start;
    load_pretrained(*model, setup.options, setup.init_key(), start);
    if (!x.defined()) {
      const bool channels_last = setup.options.train.layout == "channels_last" ||
                                 (setup.options.train.layout == "auto" && model->prefers_channels_last());
      const std::unique_ptr<Loader> loader = training_loader(setup, channels_last ? Layout::hwc : Layout::chw);
      loader->start_epoch(0);
      const BatchSlot* slot = loader->next();
      check<DataError>(slot != nullptr, "probe", "a batch needs pictures that can be read, got none");
      const TensorBatch batch = tensor_batch(*slot);
      x = batch.x.clone();  // the slot goes with the loader
      y = batch.y.clone();
      result.model = model->options().name;
      result.norm = model->options().norm;
      result.act = model->options().act;
      result.data = setup.data_name;
      result.samples = x.size(0);
      result.channels = x.size(1);
      result.height = x.size(2);
      result.width = x.size(3);
      result.classes = setup.model.num_classes;
    }
    if (x.is_contiguous(torch::MemoryFormat::ChannelsLast)) to_channels_last(*model);
    if (model->options().init == "lsuv" && start.path.empty()) {
      lsuv(*model, [&](torch::Tensor in) { return model->forward(std::move(in)); }, x, {.key = setup.init_key()});
    }
    result.starts.emplace_back(name == "auto" ? model->options().init : name, probe_model(*model, x, y, probe));
    if (result.drop_order.empty()) {
      result.drop_order = drop_order(*model, [&](const torch::Tensor& in) { return model->forward(in); }, x);
    }
  }
  return result;
}

}  // namespace ballast
