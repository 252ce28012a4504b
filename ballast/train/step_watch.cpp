#include <ballast/train/step_watch.h>

#include <ATen/Functions.h>

#include <cmath>

#include <ballast/ops/l2_norm.h>

namespace ballast {

void StepWatch::begin() {
  abandon();
  watch_ = std::make_unique<LayerWatch>(view_, LayerWatchOptions{.correlations = false});
  seen_ = false;
  gradients_ = std::make_shared<std::vector<torch::Tensor>>(view_.parameters().size());
  torch::NoGradGuard no_grad;
  for (size_t i = 0; i < view_.parameters().size(); ++i) {
    const torch::Tensor& p = view_.parameters()[i].value;
    before_.push_back(p.dim() >= 2 && p.requires_grad() ? p.detach().clone() : torch::Tensor());
    hooks_.push_back(0);
    if (!before_.back().defined()) continue;
    hooks_.back() = p.register_hook([sums = gradients_, i](const torch::Tensor& g) {
      torch::NoGradGuard off;
      torch::Tensor& sum = sums->at(i);
      sum = sum.defined() ? sum + g.detach() : g.detach().clone();
    });
  }
}

torch::Tensor StepWatch::forward(const std::function<torch::Tensor()>& run, int64_t samples) {
  if (seen_) return run();
  seen_ = true;
  return watch_->forward(run, samples);
}

JsonValue StepWatch::end() {
  JsonValue rows = JsonValue::array();
  const auto put = [](JsonValue& row, const char* name, double value) {
    if (std::isfinite(value)) row[name] = value;
  };
  torch::NoGradGuard no_grad;
  for (const WatchedLayer& layer : watch_->layers()) {
    if (layer.tied) continue;
    JsonValue row = JsonValue::object();
    row["name"] = layer.name;
    if (layer.output.samples > 0) {
      put(row, "mean", layer.output.mean);
      put(row, "std", layer.output.std);
      put(row, "across", layer.output.across);
    }
    if (layer.activated.samples > 0) {
      put(row, "zeros", layer.activated.zeros);
      put(row, "saturated", layer.activated.saturated);
    }
    put(row, "gradient", layer.output_gradient);
    for (size_t i = 0; i < view_.parameters().size(); ++i) {
      const ViewedTensor& p = view_.parameters()[i];
      if (p.name != layer.parameter || !before_[i].defined()) continue;
      const torch::Tensor& g = gradients_->at(i);
      if (g.defined()) put(row, "weight_gradient", ops::l2_norm(g) / std::sqrt(static_cast<double>(g.numel())));
      const double size = ops::l2_norm(before_[i]);
      if (size > 0) put(row, "update", ops::l2_norm(p.value.detach() - before_[i]) / size);
    }
    rows.push_back(std::move(row));
  }
  abandon();
  return rows;
}

void StepWatch::abandon() {
  for (size_t i = 0; i < hooks_.size(); ++i) {
    if (before_[i].defined()) view_.parameters()[i].value.remove_hook(hooks_[i]);
  }
  hooks_.clear();
  before_.clear();
  gradients_.reset();
  watch_.reset();
}

}  // namespace ballast
