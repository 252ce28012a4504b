#pragma once

#include <cstdint>
#include <string>

#include <ballast/train/trainer.h>
#include <ballast/weights/state_dict.h>

namespace torch::nn {
class Module;
}

namespace ballast {

/// Exponential moving average of a module's weights.
///
///   avg += (1 - d_t) (w - avg),   d_t = min(2^(-1/h), (1 + t)/(10 + t)) after the t-th step (t = 1, 2, ...)
///
/// h        half-life in steps, > 0: after h steps a weight counts half. timm's and torchvision's `decay` d is h = ln .5/ln d.
/// Tensors  floating parameters and buffers are averaged, whole numbers copied.
/// Source   Polyak & Juditsky 1992; the rising decay at the start is TensorFlow's ExponentialMovingAverage(num_updates).
/// Errors   std::invalid_argument if h is not above 0.
class Ema {
 public:
  Ema(const torch::nn::Module& module, double half_life);

  /// After each optimizer step: takes in the weights as they are now.
  void update();
  /// Puts the averages into the module; the module's own weights are kept for swap_back().
  void swap_in(torch::nn::Module& module);
  void swap_back(torch::nn::Module& module);

  int64_t updates() const { return updates_; }
  const StateDict& averages() const { return averages_; }
  /// Errors: DataError as copy_into.
  void restore(int64_t updates, const StateDict& averages, const std::string& label);

 private:
  double decay_;
  int64_t updates_ = 0;
  StateDict live_;  // shares the module's memory
  StateDict averages_;
  StateDict own_;  // while the averages are in the module
};

}  // namespace ballast
