#include <ballast/train/evaluate_loader.h>

#include <algorithm>
#include <optional>

#include <ballast/base/check.h>
#include <ballast/models/model.h>
#include <ballast/train/mc_passes.h>
#include <ballast/train/metrics.h>
#include <ballast/train/tensor_batch.h>

namespace ballast {
namespace {

class EvalMode {
 public:
  explicit EvalMode(torch::nn::Module& module) : module_(module), training_(module.is_training()) { module.eval(); }
  ~EvalMode() { module_.train(training_); }
  EvalMode(const EvalMode&) = delete;
  EvalMode& operator=(const EvalMode&) = delete;

 private:
  torch::nn::Module& module_;
  bool training_;
};

/// (n, K): the logs of the mean probabilities of several views.
torch::Tensor mean_of_views(Model& model, const torch::Tensor& x, const EvaluateOptions& options) {
  TtaMean mean(!options.label_sets.empty());
  for (const TtaView& view : options.views) {
    const torch::Tensor z = model.forward(seen(view, x));
    mean.add(options.temperature == 1 ? z : z / options.temperature);
  }
  return mean.scores();
}

}  // namespace

std::vector<int32_t> class_map(const std::vector<std::string>& data, const std::vector<std::string>& model) {
  std::vector<int32_t> map;
  for (const std::string& name : data) {
    const auto it = std::find(model.begin(), model.end(), name);
    check(it != model.end(), "evaluate", "classes of the data must be among the model's, got \"", name, "\"");
    map.push_back(static_cast<int32_t>(it - model.begin()));
  }
  return map;
}

LabelSets label_sets_for(const DataSet& data, const std::vector<std::string>& model_classes, bool several_labels) {
  check(several_labels || !data.several_labels(), "evaluate", "data must have one label a picture, as the model was trained, got several");
  if (!several_labels) {
    return {};
  }
  const std::vector<int32_t> map = class_map(data.classes, model_classes);
  LabelSets sets = data.source->label_sets();
  for (int32_t c = 0; !data.several_labels() && c < static_cast<int32_t>(map.size()); ++c) sets.push_back({c});
  for (std::vector<int32_t>& set : sets) {
    for (int32_t& c : set) c = map[static_cast<size_t>(c)];
  }
  return sets;
}

PredictionTable evaluate_loader(Model& model, Loader& loader, const EvaluateOptions& options, McSpread* spread) {
  const torch::NoGradGuard no_grad;
  const EvalMode eval(model);
  PredictionTable table;
  table.classes = options.classes;
  const bool views = !options.views.empty();
  check(!views || options.mc == 0, "evaluate", "tta and mc exclude each other");
  table.several_labels = !options.label_sets.empty();
  check(!table.several_labels || options.mc == 0, "evaluate", "mc must be 0 for a model of several labels a picture, got ", options.mc);
  std::optional<McPasses> passes;
  if (options.mc > 0) passes.emplace(model, options.mc, options.mc_key);
  McSpread sum;
  int64_t rows = 0;
  loader.start_epoch(0);
  while (const BatchSlot* slot = loader.next()) {
    torch::Tensor x = batch_pixels(*slot);
    if (!options.device.is_cpu()) {
      x = x.to(options.device);
    }
    McPasses::Result mc;
    if (passes) {
      mc = (*passes)(x, rows, options.temperature);
      rows += slot->n;
    }
    torch::Tensor logits = passes            ? mc.logits
                           : views           ? mean_of_views(model, x, options)
                           : options.forward ? options.forward(x)
                                             : model.forward(x);
    check(logits.dim() == 2 && logits.size(1) == options.classes, "evaluate", "model must have ", options.classes,
          " outputs, got ", logits.size(-1));
    logits = logits.to(torch::kCPU, torch::kFloat);
    if (options.temperature != 1 && !passes && !views) {
      logits = logits / options.temperature;
    }
    logits = logits.contiguous();
    const float* z = logits.data_ptr<float>();
    for (int64_t i = 0; i < slot->n; ++i) {
      const auto row = static_cast<size_t>(i);
      if (slot->weight[row] == 0) {
        continue;
      }
      table.index.push_back(static_cast<int64_t>(slot->id[row]));
      if (table.several_labels) {
        table.targets.resize(table.targets.size() + static_cast<size_t>(options.classes));
        uint8_t* targets = table.targets.data() + table.targets.size() - options.classes;
        for (const int32_t c : options.label_sets[static_cast<size_t>(slot->label[row])]) targets[c] = 1;
      } else {
        table.target.push_back(static_cast<int32_t>(slot->label[row]));
      }
      if (passes) {
        sum.mutual_information += mc.summary.mutual_information[i].item<double>();
        sum.variance += mc.summary.variance[i].sum().item<double>();
      }
      table.logits.insert(table.logits.end(), z + i * options.classes, z + (i + 1) * options.classes);
    }
    if (options.on_batch && !options.on_batch(table.size())) {
      return {};
    }
  }
  if (spread != nullptr && table.size() > 0) {
    const auto n = static_cast<double>(table.size());
    *spread = {sum.variance / n, sum.mutual_information / n};
  }
  fill_rows(table);
  table.sort();
  return table;
}

}  // namespace ballast
