#include <ballast/norm/reestimate.h>

#include <torch/nn/functional/instancenorm.h>  // LibTorch 1.13: modules/instancenorm.h needs it
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/instancenorm.h>

#include <algorithm>
#include <map>
#include <vector>

#include <ballast/base/check.h>
#include <ballast/norm/moment_observer.h>

namespace ballast {
namespace {

// What a layer has seen so far.
struct Seen {
  torch::Tensor running_mean, running_var;
  int64_t count = 0;
  torch::Tensor mean, m2;
};

template <class Visit>
void visit_named(const torch::nn::Module& module, const std::string& name, const Visit& visit) {
  visit(module, name);
  for (const auto& child : module.named_children()) {
    visit_named(*child.value(), name.empty() ? child.key() : name + '.' + child.key(), visit);
  }
}

class EvalMode {
 public:
  explicit EvalMode(torch::nn::Module& model) {
    remember(model);
    model.eval();
  }
  ~EvalMode() { restore(); }

 private:
  void remember(torch::nn::Module& module) {
    modes_.emplace_back(&module, module.is_training());
    for (const auto& child : module.children()) remember(*child);
  }
  // train() works on children too: parents stand before them, so each has its own mode in the end.
  void restore() {
    for (const auto& [module, training] : modes_) module->train(training);
  }
  std::vector<std::pair<torch::nn::Module*, bool>> modes_;
};

}  // namespace

void detail::check_ballast_norms(const char* stem, const torch::nn::Module& model) {
  visit_named(model, "", [&](const torch::nn::Module& module, const std::string& name) {
    const char* type = module.as<torch::nn::BatchNorm1d>()   ? "torch::nn::BatchNorm1d"
                       : module.as<torch::nn::BatchNorm2d>() ? "torch::nn::BatchNorm2d"
                       : module.as<torch::nn::BatchNorm3d>() ? "torch::nn::BatchNorm3d"
                                                             : nullptr;
    check(type == nullptr, stem, "model must hold ballast norms, got ", type ? type : "", " at ",
          name.empty() ? "its root" : name);
  });
}

int64_t reestimate(torch::nn::Module& model, const std::function<torch::Tensor(const torch::Tensor&)>& forward,
                   const std::function<std::optional<torch::Tensor>()>& next_batch, const ReestimateOptions& options) {
  check(options.max_batches >= 1, "reestimate", "max_batches must be >= 1, got ", options.max_batches);
  detail::check_ballast_norms("reestimate", model);
  const auto buffers = model.named_buffers().keys();
  if (std::ranges::none_of(buffers, [](const std::string& name) { return name.ends_with("running_mean"); })) return 0;
  std::map<const void*, Seen> layers;  // by their running mean
  int64_t batches = 0;
  {
    torch::NoGradGuard no_grad;
    const EvalMode eval(model);
    const detail::MomentObserver observer([&](const torch::Tensor& running_mean, const torch::Tensor& running_var,
                                              int64_t count, const torch::Tensor& mean, const torch::Tensor& var) {
      if (count == 0) return;
      Seen& seen = layers[running_mean.unsafeGetTensorImpl()];
      const torch::Tensor m = mean.to(torch::kDouble), v = var.to(torch::kDouble);
      const double n = static_cast<double>(count);
      if (seen.count == 0) {
        seen = {running_mean, running_var, count, m.clone(), v * n};
        return;
      }
      const double before = static_cast<double>(seen.count);
      const torch::Tensor delta = m - seen.mean;
      seen.mean = seen.mean + delta * (n / (before + n));
      seen.m2 = seen.m2 + v * n + delta.square() * (before * n / (before + n));
      seen.count += count;
    });
    while (batches < options.max_batches) {
      const std::optional<torch::Tensor> batch = next_batch();
      if (!batch) break;
      forward(*batch);
      ++batches;
    }
  }
  check(batches >= 1, "reestimate", "at least 1 batch is needed, got 0");
  torch::NoGradGuard no_grad;
  for (auto& [key, seen] : layers) {
    seen.running_mean.copy_(seen.mean);
    // A single value has no unbiased variance.
    seen.running_var.copy_(seen.m2 / static_cast<double>(std::max<int64_t>(1, seen.count - 1)));
  }
  return batches;
}

}  // namespace ballast
