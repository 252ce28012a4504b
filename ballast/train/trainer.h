#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <torch/types.h>

#include <ballast/control/lr_schedule.h>
#include <ballast/train/optimizer.h>
#include <ballast/weights/state_dict.h>

namespace torch::nn {
class Module;
}

namespace ballast {

/// How gradients are limited before the update; non-finite ones never reach it.
enum class ClipMode {
  off,
  norm,   ///< g *= min(1, c / (norm + 1e-6)), over all parameters
  value,  ///< g = clamp(g, -c, c)
  /// Adaptive: per output unit, g *= min(1, c * max(|W|, 1e-3) / |g|); tensors of at most one dimension as a whole; not the
  /// classifier. Source: Brock et al. 2021, arXiv:2102.06171.
  agc,
};

/// What is minimized, from one label a sample.
enum class LossName {
  cross_entropy,  ///< loss/cross_entropy.h
  bce,            ///< loss/bce.h on one-hot targets, summed over the classes
  focal,          ///< loss/focal.h
};

/// Options of Trainer.
struct TrainerOptions {
  OptimizerOptions optimizer;
  LrScheduleOptions schedule;
  /// T, steps of the whole run.
  int64_t total_steps = 1;
  /// Rows of a forward and backward pass; 0: the whole step. Saves memory, changes only what normalization sees.
  int64_t micro_batch = 0;
  LossName loss = LossName::cross_entropy;
  double label_smoothing = 0;
  /// gamma of focal, >= 0.
  double focal_gamma = 2;
  ClipMode clip = ClipMode::off;
  double clip_limit = 1;
  /// Name of the classifier, which agc leaves alone.
  std::string head = "fc";
  /// Of the drops' masks: each forward runs in StepScope(seed, 0, step, first row of the micro-batch).
  uint64_t seed = 0;
};

/// What one step did. Times in seconds.
struct StepResult {
  bool finite = true;        ///< false: nothing was updated, buffers are as before the step
  double loss = 0;           ///< mean over the samples, smoothing included
  double gradient_norm = 0;  ///< before clipping
  bool clipped = false;
  double lr = 0, momentum = 0;
  double forward = 0, backward = 0, optimizer = 0;
};

/// Trains a module, a step at a time.
///
/// A step of n samples is cut into micro-batches; each summed loss is divided by the step's own n, so that a last step of
/// fewer samples is weighted right. Learning rate and momentum are functions of the step's number. If the loss or the
/// norm of the gradient is not finite, nothing is updated and the module's buffers (running statistics) are put back.
///
/// Layout   x keeps its memory format; give channels_last batches to modules in channels_last (see to_channels_last).
/// Errors   std::invalid_argument: options out of range, labels that are not one per sample.
class Trainer {
 public:
  using Forward = std::function<torch::Tensor(const torch::Tensor&)>;
  Trainer(torch::nn::Module& module, Forward forward, TrainerOptions options);

  /// x: (n, ...), n >= 1; y: (n) int64. Both on the module's device or on the CPU. Of mixed samples partner (n) int64 and
  /// lam (n) float: row i is lam of class y and 1 - lam of class partner; smoothing is applied to both.
  StepResult step(const torch::Tensor& x, const torch::Tensor& y, const torch::Tensor& partner = {},
                  const torch::Tensor& lam = {});

  /// The schedule's rate is multiplied by this from now on; > 0.
  void set_lr_scale(double scale) { lr_scale_ = scale; }
  double lr_scale() const { return lr_scale_; }

  /// Steps done; the next one has this number.
  int64_t steps() const { return t_; }
  const Optimizer& optimizer() const { return optimizer_; }
  /// Goes on behind `steps` steps, with the optimizer's state of then (its state() by name). The module's weights are the
  /// caller's to bring back.
  /// Errors: DataError as copy_into.
  void restore(int64_t steps, const StateDict& optimizer_state, const std::string& label);

 private:
  torch::nn::Module& module_;
  Forward forward_;
  TrainerOptions options_;
  Optimizer optimizer_;
  std::vector<torch::Tensor> buffers_, saved_;
  torch::Device device_;
  int64_t t_ = 0;
  double lr_scale_ = 1;
};

/// Converts the 4-D parameters of a module to channels_last, keeping their values.
void to_channels_last(torch::nn::Module& module);

/// All parameters and buffers of a module, by name: what has to be kept to come back to a moment of training.
class WeightsCopy {
 public:
  WeightsCopy() = default;
  explicit WeightsCopy(const torch::nn::Module& module);
  /// Of a module of equal structure, from a file. Errors: DataError as copy_into.
  WeightsCopy(const torch::nn::Module& module, const StateDict& from, const std::string& label);
  bool empty() const { return tensors_.empty(); }
  /// Copies back into the same module (or one of equal structure).
  void restore(torch::nn::Module& module) const;
  const StateDict& tensors() const { return tensors_; }
  /// False if a floating-point value is NaN or infinite.
  bool finite() const;

 private:
  StateDict tensors_;
};

/// The device that `auto`, `cpu`, `cuda` or `cuda:N` names.
/// Errors: std::invalid_argument if it is not there: `[device] cuda:1 must be a device of this machine, got 1 CUDA
/// device`.
torch::Device find_device(const std::string& name);

}  // namespace ballast
