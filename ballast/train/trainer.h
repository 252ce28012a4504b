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

/// What is minimized.
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
  /// Of several labels a picture: (sets, K) of 0 and 1; y and partner are then rows of it, and the loss must be bce, summed over
  /// the classes, smoothed by e / 2. Undefined: one label.
  torch::Tensor label_sets = {};
  /// The target of such mixed samples is the larger of both, not lam and 1 - lam of them.
  bool mix_union = false;
  /// gamma of focal, >= 0.
  double focal_gamma = 2;
  /// Logits or log-probabilities (n, K) of a teacher for the x of a micro-batch: the loss is then
  /// distill_alpha in [0, 1] times distill() with distill_temperature > 0, and 1 - distill_alpha
  /// times the one of the labels. Empty: no teacher.
  std::function<torch::Tensor(const torch::Tensor& x)> teacher = {};
  double distill_alpha = 0.9, distill_temperature = 4;
  ClipMode clip = ClipMode::off;
  double clip_limit = 1;
  /// Name of the classifier, which agc leaves alone.
  std::string head = "fc";
  /// Of the drops' masks: each forward runs in StepScope(seed, attempt, step, first row of the micro-batch).
  uint64_t seed = 0;
  /// From step hold_from on the rate is hold_lr, whatever the schedule says; below 0: never.
  int64_t hold_from = -1;
  double hold_lr = 0;
  /// Forward pass and loss under autocast to bfloat16; weights, optimizer, normalization and loss stay float32.
  bool bf16 = false;
};

/// Where the first value that is not finite arose.
struct NonFiniteOrigin {
  std::string pass;   ///< "input", "weights", "forward", "loss", "backward"; empty: not found
  std::string op;     ///< "aten::conv2d"
  std::string layer;  ///< "layer1.0.conv1"; of weights the parameter
  /// "first in the forward pass, aten::conv2d of layer1.0.conv1"; empty if it was not found.
  std::string text() const;
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

  /// Computes a step that was not finite once more, without an update, and looks where it began: in the order of the forward pass, or if
  /// that is finite in the order of the backward pass. Buffers stay as they are.
  NonFiniteOrigin find_non_finite(const torch::Tensor& x, const torch::Tensor& y, const torch::Tensor& partner = {},
                                  const torch::Tensor& lam = {});

  /// The schedule's rate is multiplied by this from now on; > 0.
  void set_lr_scale(double scale) { lr_scale_ = scale; }
  double lr_scale() const { return lr_scale_; }

  /// Other masks of the drops from now on: number of the attempt, >= 0.
  void set_attempt(uint64_t attempt) { attempt_ = attempt; }
  /// Goes on behind a step that was not finite, as if it had been done.
  void skip() { ++t_; }

  /// Steps done; the next one has this number.
  int64_t steps() const { return t_; }
  const Optimizer& optimizer() const { return optimizer_; }
  /// Goes on behind `steps` steps, with the optimizer's state of then (its state() by name). The module's weights are the
  /// caller's to bring back.
  /// Errors: DataError as copy_into.
  void restore(int64_t steps, const StateDict& optimizer_state, const std::string& label);

 private:
  torch::Tensor autocast_forward(const torch::Tensor& x) const;
  struct Part {
    int64_t begin = 0;
    torch::Tensor x, y, partner, lam;
  };
  Part part_of(int64_t m, const torch::Tensor& x, const torch::Tensor& y, const torch::Tensor& partner,
               const torch::Tensor& lam) const;
  int64_t parts(int64_t n) const;
  torch::Tensor hard_loss(const torch::Tensor& logits, const Part& part) const;
  torch::Tensor label_targets(const Part& part) const;
  torch::Tensor loss_of(const torch::Tensor& logits, const Part& part) const;
  void restore_buffers();
  torch::nn::Module& module_;
  Forward forward_;
  TrainerOptions options_;
  Optimizer optimizer_;
  std::vector<torch::Tensor> buffers_, saved_;
  torch::Device device_;
  int64_t t_ = 0;
  double lr_scale_ = 1;
  uint64_t attempt_ = 0;
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
