#include <ballast/train/soup.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include <ATen/Functions.h>

#include <ballast/base/check.h>
#include <ballast/data/data_set.h>
#include <ballast/models/model.h>
#include <ballast/norm/reestimate.h>
#include <ballast/train/evaluate_loader.h>
#include <ballast/train/machine.h>
#include <ballast/train/run.h>
#include <ballast/train/run_setup.h>
#include <ballast/train/saved_model.h>
#include <ballast/train/tensor_batch.h>
#include <ballast/train/trainer.h>
#include <ballast/weights/state_dict.h>

namespace ballast {
namespace {

/// The models, and the data they are judged by.
class Kitchen {
 public:
  Kitchen(const std::vector<std::filesystem::path>& models, const SoupOptions& options)
      : options_(options) {
    device_ = find_device(options.device);
    set_threads(options.threads);
    for (const auto& path : models) {
      SavedModel saved = load_saved_model(path);
      if (!models_.empty()) {
        const std::string& name = models_[0].info.model.name;
        check(saved.info.model.name == name, "soup", "members must have one architecture, got ",
              name, " and ", saved.info.model.name);
        check(saved.info.classes == models_[0].info.classes, "soup",
              "members must have the same classes in the same order, ", path.string(),
              " has others");
        check(saved.info.several_labels == models_[0].info.several_labels, "soup",
              "members must all be of one label a picture, or all of several, got both");
      }
      weights_.push_back(state_dict(*saved.model));
      models_.push_back(std::move(saved));
    }
    const SavedModelInfo& info = models_[0].info;
    check<DataError>(!info.data.source.empty(), "soup", models[0].string(),
                     ": config.json names no data");
    data_ = open_data(info.data, Key(info.seed));
    split_ = data_.role(Role::hold).size() > 0 ? Role::hold : Role::val;
    check<DataError>(data_.role(split_).size() > 0, "soup", info.data.source,
                     " must have a part held out or for validation");
    pipeline_ = Pipeline::parse(info.eval_pipeline);
    pipeline_.set_normalize(info.normalize);
    std::shared_ptr<torch::nn::Module> copy = models_[0].model->clone();
    pot_ = std::dynamic_pointer_cast<Model>(copy);
    pot_->eval();
    if (!device_.is_cpu()) pot_->to(device_);
    layout_ = pot_->prefers_channels_last() ? Layout::hwc : Layout::chw;
    if (layout_ == Layout::hwc) to_channels_last(*pot_);
  }

  size_t size() const { return models_.size(); }
  Role split() const { return split_; }
  int64_t rows() const { return data_.role(split_).size(); }
  Model& pot() { return *pot_; }
  const SavedModelInfo& info() const { return models_[0].info; }

  /// Fills the pot with the average of these and returns its NLL.
  double cook(const std::vector<size_t>& kept) {
    StateDict mean = state_dict(*pot_);
    const torch::NoGradGuard no_grad;
    for (auto& [name, value] : mean) {
      if (!at::isFloatingType(value.scalar_type())) {
        value.copy_(weights_[kept[0]].at(name));
        continue;
      }
      torch::Tensor sum = at::zeros(value.sizes(), at::kDouble);
      for (const size_t m : kept) sum += weights_[m].at(name).to(at::kDouble);
      value.copy_(sum / static_cast<double>(kept.size()));
    }
    if (kept.size() > 1) estimate_statistics();
    return nll();
  }

 private:
  /// Running statistics of the batch norms, anew over the training part.
  void estimate_statistics() {
    const std::unique_ptr<Loader> train = loader(Role::train);
    train->start_epoch(0);
    reestimate(*pot_, [this](const torch::Tensor& x) { return pot_->forward(x); },
               [&]() -> std::optional<torch::Tensor> {
                 const BatchSlot* slot = train->next();
                 return slot == nullptr ? std::nullopt : std::optional(tensor_batch(*slot).x.to(device_));
               },
               {.max_batches = std::numeric_limits<int64_t>::max()});
  }
  std::unique_ptr<Loader> loader(Role role) const {
    return evaluation_loader(data_.role(role), pipeline_, models_[0].info.model,
                             options_.batch_size, options_.workers, layout_);
  }
  double nll() {
    const std::unique_ptr<Loader> held = loader(split_);
    EvaluateOptions e;
    e.device = device_;
    e.classes = models_[0].info.model.num_classes;
    e.label_sets = label_sets_for(data_, models_[0].info.classes, models_[0].info.several_labels);
    const PredictionTable table = evaluate_loader(*pot_, *held, e);
    return std::accumulate(table.loss.begin(), table.loss.end(), 0.0) /
           static_cast<double>(std::max<int64_t>(1, table.size()));
  }

  SoupOptions options_;
  torch::Device device_ = torch::kCPU;
  std::vector<SavedModel> models_;
  std::vector<StateDict> weights_;
  DataSet data_;
  Role split_ = Role::val;
  Pipeline pipeline_;
  std::shared_ptr<Model> pot_;
  Layout layout_ = Layout::chw;
};

}  // namespace

SoupResult make_soup(const std::vector<std::filesystem::path>& models,
                     const std::filesystem::path& out, const SoupOptions& options,
                     RunEvents& events) {
  check(models.size() >= 2, "soup", "there must be 2 members at least, got ", models.size());
  events.on_phase("reading models and data");
  Kitchen kitchen(models, options);
  SoupResult result;
  result.split = std::string(to_string(kitchen.split()));
  result.rows = kitchen.rows();
  for (size_t m = 0; m < kitchen.size(); ++m) {
    events.on_phase("judging member " + std::to_string(m));
    result.nll.push_back(kitchen.cook({m}));
  }
  std::vector<size_t> order(kitchen.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (options.greedy) {
    std::ranges::stable_sort(order, {}, [&](size_t m) { return result.nll[m]; });
    result.kept = {order[0]};
    result.soup_nll = result.nll[order[0]];
    for (size_t i = 1; i < order.size(); ++i) {
      events.on_phase("tasting " + std::to_string(i + 1) + " of " + std::to_string(order.size()));
      std::vector<size_t> more = result.kept;
      more.push_back(order[i]);
      if (const double nll = kitchen.cook(more); nll <= result.soup_nll) {
        result.kept = std::move(more);
        result.soup_nll = nll;
      }
    }
  } else {
    result.kept = order;
  }
  events.on_phase("averaging");
  result.soup_nll = kitchen.cook(result.kept);
  double mean = 0;
  for (const size_t m : result.kept)
    mean += result.nll[m] / static_cast<double>(result.kept.size());
  result.barrier = result.soup_nll - mean;
  check(result.barrier <= options.max_barrier, "soup", "members must share a basin, barrier is ",
        result.barrier, " nats");
  SavedModelInfo info = kitchen.info();
  info.temperature = 1;
  info.epoch = info.step = 0;
  info.monitor = result.split + "/loss";
  info.value = result.soup_nll;
  save_model(real_fs(), out, kitchen.pot(), info);
  return result;
}

}  // namespace ballast
