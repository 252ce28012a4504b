#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <ballast/probe/recurrent_steps.h>
#include <ballast/probe/signal.h>

namespace torch::jit {
struct Module;
}

namespace ballast {

class ModuleView;

/// Options of init_report.
struct InitReportOptions {
  /// Learning rate that the update ratio is for, > 0.
  double lr = 0.01;
  /// Names of parameters that start at 0 by design ('*' and '?' match any characters): the last norm weight of a
  /// residual branch, a gate, a head. They block gradients, so they are opened for the measurement: weights get 0.1 of
  /// He's normal values, vectors and scalars 0.1. Only tensors that are all 0 are.
  std::vector<std::string> zero_on_purpose = {};
  /// Correlations of channels and samples, the dearest part; without them `symmetric` rests on equal weights alone.
  bool correlations = true;
};

/// One layer with a weight, in the order of execution.
struct InitReportLayer {
  std::string name, op, act;
  double fan_in = 0, fan_out = 0;
  double weight_std = 0;
  double he_ratio = 0;          ///< weight_std over sqrt(2 / fan_in)
  int64_t equal_units = 0;      ///< units whose weights and bias equal another unit's, bit for bit
  Signal signal;                ///< of the pre-activations
  Signal activated;             ///< behind the activation; no samples where there is none
  double output_gradient = std::numeric_limits<double>::quiet_NaN();  ///< rms
  double weight_gradient = std::numeric_limits<double>::quiet_NaN();  ///< rms
  double update_ratio = std::numeric_limits<double>::quiet_NaN();     ///< lr norm(g) / norm(w)
  bool opened = false, computed = false, tied = false, before_norm = false, head = false, recurrent = false;
  int64_t section = 0;          ///< layers of one section follow each other without a norm between them
  std::vector<RecurrentStep> steps;  ///< of a recurrent layer
};

enum class FindingLevel { info, warning, certain };

struct InitFinding {
  /// not_finite, no_gradient, symmetric, vanishing, exploding, update_small, update_large, saturated, dead, loss_start
  std::string name;
  FindingLevel level = FindingLevel::warning;
  std::string statistic;  ///< what it rests on: signal, gradient, weights, update, units, loss, steps, step gradient
  std::string layer;      ///< where it starts
  double value = 0;       ///< the statistic there: slope in decades a layer, share, ratio
  std::string text;       ///< a sentence
};

struct InitReport {
  std::vector<InitReportLayer> layers;
  std::vector<InitFinding> findings;  ///< the most serious first
  double loss = 0, expected_loss = 0; ///< at the start; ln K
  /// healthy, symmetric, vanishing, exploding, saturated, dead, not_finite, no_gradient, update_small, update_large,
  /// head_badly_scaled
  std::string verdict = "healthy";
  /// "healthy", "warning" (one finding) or "error" (one certain finding, or two of different statistics).
  std::string level = "healthy";
  std::string layer;  ///< where it starts; empty if healthy
  std::string cure;   ///< a value of --init; empty if healthy
  std::string text;   ///< the verdict in words
};

/// Whether signals and gradients survive the depth of a model, before it trains: one forward and one backward pass of one
/// batch (a forward pass more where parameters are zero on purpose), drops off, norms on batch statistics.
///
///   v      across-sample variance of the pre-activations: at each place over the samples, the mean over places
///   slope  of log10 sqrt v (and of the gradient's log10 rms) over layers that follow each other without a norm
///   c      mean |correlation| of at most 64 channels over samples and positions
///
///   finding                  rule
///   not_finite, no_gradient  a NaN or Inf; a trainable tensor whose gradient is undefined or all 0           certain
///   symmetric                units with equal weights, or c >= 0.99 with more than 1 channel                 certain
///   vanishing, exploding     abs(slope) > 0.12 over at least 4 layers, and at least a decade in all
///   (recurrent layers)       a small difference of states without input, or the gradient on its way back, grows by more
///                            than kStepGrow or shrinks by more than kStepShrink decades a step, and a decade in all
///   update_small, _large     lr norm(g) / norm(w) below 1e-6; above 0.1 (weights of norm 0 and opened ones excepted)
///   saturated, dead          over 50 % of units with abs(phi') < 1e-3 on all samples; 0 on all samples
///   loss_start               abs(loss - ln K) > 0.5: information; above 2 ln K + 2 a finding (head badly scaled)
///
/// Verdict  error for one certain finding or two of different statistics, warning for one, else healthy. It names the
///          first layer out of band in the order of execution (the last for gradients).
/// target   (N) int64 classes: cross entropy; else of the output's shape and floating point: mean squared error / 2.
/// Leaves   parameters, buffers, gradients, training and requires_grad flags as they were, bit for bit, also after a
///          throw, and LibTorch's CPU generator.
/// Source   He et al. 2015, arXiv:1502.01852 (variances); Mishkin and Matas 2015, arXiv:1511.06422 (measured ones).
/// Errors   std::invalid_argument `[init_report] x must have at least 2 samples, got 1`, `[init_report] lr must be > 0,
///          got 0`, `[init_report] forward must run layers in this thread, got none`.
InitReport init_report(torch::nn::Module& module, const std::function<torch::Tensor(const torch::Tensor&)>& forward,
                       const torch::Tensor& x, const torch::Tensor& target, const InitReportOptions& options = {});
InitReport init_report(torch::jit::Module& module, const torch::Tensor& x, const torch::Tensor& target,
                       const InitReportOptions& options = {});

/// Decades a time step. A gated layer forgets on purpose (forget gate of bias 1: 0.14), and data drive a plain one into
/// saturation, so shrinking is allowed to halve a state; growing is not meant by any.
inline constexpr double kStepGrow = 0.03, kStepShrink = 0.3;

/// Units (rows) of a weight whose values, and bias if defined, equal another unit's bit for bit.
int64_t equal_units(const torch::Tensor& weight, const torch::Tensor& bias = {});

}  // namespace ballast
