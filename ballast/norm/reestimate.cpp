#include <ballast/norm/reestimate.h>

#include <torch/nn/functional/instancenorm.h>  // LibTorch 1.13: modules/instancenorm.h needs it
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/instancenorm.h>

#include <algorithm>
#include <map>
#include <string>
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

  void add(int64_t n, const torch::Tensor& batch_mean, const torch::Tensor& batch_var) {
    const double rows = static_cast<double>(n), before = static_cast<double>(count);
    if (count == 0) {
      mean = batch_mean.clone(), m2 = batch_var * rows;
    } else {
      const torch::Tensor delta = batch_mean - mean;
      mean = mean + delta * (rows / (before + rows));
      m2 = m2 + batch_var * rows + delta.square() * (before * rows / (before + rows));
    }
    count += n;
  }
  // A single value has no unbiased variance.
  torch::Tensor var() const { return m2 / static_cast<double>(std::max<int64_t>(1, count - 1)); }
};

using Forward = std::function<torch::Tensor(const torch::Tensor&)>;
using NextBatch = std::function<std::optional<torch::Tensor>()>;

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

bool has_running_statistics(const torch::nn::Module& model) {
  const auto buffers = model.named_buffers().keys();
  return std::ranges::any_of(buffers, [](const std::string& name) { return name.ends_with("running_mean"); });
}

// Fills `layers` in the order of execution; returns the number of batches.
int64_t observe(torch::nn::Module& model, const Forward& forward, const NextBatch& next_batch,
                const ReestimateOptions& options, std::vector<Seen>& layers) {
  check(options.max_batches >= 1, "reestimate", "max_batches must be >= 1, got ", options.max_batches);
  detail::check_ballast_norms("reestimate", model);
  if (!has_running_statistics(model)) return 0;
  torch::NoGradGuard no_grad;
  const EvalMode eval(model);
  std::map<const void*, size_t> places;  // by the running mean
  const detail::MomentObserver observer([&](const torch::Tensor& running_mean, const torch::Tensor& running_var,
                                            int64_t count, const torch::Tensor& mean, const torch::Tensor& var) {
    if (count == 0) return;
    const auto [place, is_new] = places.try_emplace(running_mean.unsafeGetTensorImpl(), layers.size());
    if (is_new) layers.push_back({.running_mean = running_mean, .running_var = running_var, .mean = {}, .m2 = {}});
    layers[place->second].add(count, mean.to(torch::kDouble), var.to(torch::kDouble));
  });
  int64_t batches = 0;
  while (batches < options.max_batches) {
    const std::optional<torch::Tensor> batch = next_batch();
    if (!batch) break;
    forward(*batch);
    ++batches;
  }
  check(batches >= 1, "reestimate", "at least 1 batch is needed, got 0");
  return batches;
}

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

int64_t reestimate(torch::nn::Module& model, const Forward& forward, const NextBatch& next_batch,
                   const ReestimateOptions& options) {
  std::vector<Seen> layers;
  const int64_t batches = observe(model, forward, next_batch, options, layers);
  torch::NoGradGuard no_grad;
  for (const Seen& seen : layers) {
    seen.running_mean.copy_(seen.mean);
    seen.running_var.copy_(seen.var());
  }
  return batches;
}

std::vector<NormDrift> norm_drift(torch::nn::Module& model, const Forward& forward, const NextBatch& next_batch,
                                  const ReestimateOptions& options) {
  std::vector<Seen> layers;
  observe(model, forward, next_batch, options, layers);
  torch::NoGradGuard no_grad;
  std::map<const void*, std::string> names;
  for (const auto& buffer : model.named_buffers()) {
    const std::string& name = buffer.key();
    if (name.ends_with("running_mean")) {
      const size_t dot = name.rfind('.');
      names.emplace(buffer.value().unsafeGetTensorImpl(), dot == std::string::npos ? "" : name.substr(0, dot));
    }
  }
  constexpr double eps = 1e-5;
  std::vector<NormDrift> drifts;
  for (const Seen& seen : layers) {
    const torch::Tensor running_var = seen.running_var.to(torch::kDouble) + eps;
    const torch::Tensor moved = (seen.mean - seen.running_mean.to(torch::kDouble)).square() / running_var;
    const torch::Tensor spread = ((seen.var() + eps) / running_var).log() / 2;
    drifts.push_back({.layer = names.at(seen.running_mean.unsafeGetTensorImpl()),
                      .shift = moved.mean().sqrt().item<double>(),
                      .scale = spread.square().mean().sqrt().exp().item<double>()});
  }
  return drifts;
}

}  // namespace ballast
