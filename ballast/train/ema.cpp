#include <ballast/train/ema.h>

#include <algorithm>
#include <cmath>

#include <torch/nn/module.h>

#include <ballast/base/check.h>

namespace ballast {

Ema::Ema(const torch::nn::Module& module, double half_life) : decay_(std::exp2(-1 / half_life)), live_(state_dict(module)) {
  check(half_life > 0 && std::isfinite(half_life), "ema", "half_life must be above 0 steps, got ", half_life);
  for (const auto& [name, tensor] : live_) {
    averages_.emplace(name, tensor.clone());
  }
}

void Ema::update() {
  torch::NoGradGuard no_grad;
  ++updates_;
  const auto t = static_cast<double>(updates_);
  const double decay = std::min(decay_, (1 + t) / (10 + t));
  for (auto& [name, average] : averages_) {
    const torch::Tensor& now = live_.at(name);
    if (average.is_floating_point()) {
      average.lerp_(now, 1 - decay);
    } else {
      average.copy_(now);
    }
  }
}

void Ema::swap_in(torch::nn::Module& module) {
  own_.clear();
  for (const auto& [name, tensor] : live_) {
    own_.emplace(name, tensor.clone());
  }
  copy_into(module, averages_, "ema");
}

void Ema::swap_back(torch::nn::Module& module) {
  copy_into(module, own_, "ema");
  own_.clear();
}

void Ema::restore(int64_t updates, const StateDict& averages, const std::string& label) {
  copy_into(averages_, averages, label);
  updates_ = updates;
}

}  // namespace ballast
