#include <ballast/train/swa.h>

#include <torch/nn/module.h>

namespace ballast {

Swa::Swa(const torch::nn::Module& module) : live_(state_dict(module)) {
  for (const auto& [name, tensor] : live_) {
    averages_.emplace(name, tensor.clone());
  }
  for (const auto& p : module.named_parameters()) {
    if (p.value().is_floating_point()) {
      parameters_.emplace(p.key(), p.value());
    }
  }
}

void Swa::update() {
  torch::NoGradGuard no_grad;
  for (auto& [name, average] : averages_) {
    const torch::Tensor& now = live_.at(name);
    if (parameters_.contains(name)) {
      average.add_((now - average).div_(static_cast<double>(n_ + 1)));
    } else {
      average.copy_(now);
    }
  }
  ++n_;
}

void Swa::restore(int64_t n, const StateDict& averages, const std::string& label) {
  copy_into(averages_, averages, label);
  n_ = n;
}

}  // namespace ballast
