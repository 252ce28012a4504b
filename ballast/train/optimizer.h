#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <torch/types.h>

#include <ballast/weights/param_groups.h>
#include <ballast/weights/state_dict.h>

namespace ballast {

/// Options of Optimizer.
struct OptimizerOptions {
  /// sgd, adam or adamw.
  std::string name = "sgd";
  /// Coefficient of w: added to the gradient (sgd, adam) or decoupled (adamw). >= 0.
  double weight_decay = 5e-4;
  /// mu of sgd, in [0, 1).
  double momentum = 0.9;
  bool nesterov = true;
  /// Adam's beta1, beta2, in [0, 1), and eps > 0.
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  /// Names of further parameters without weight decay, such as position embeddings.
  std::vector<std::string> no_decay = {};
  /// Of param_groups(): learning rate (lr_scale) and weight decay of each parameter, in place of the two groups below.
  /// Parameters that no group names are left alone.
  std::vector<ParamGroup> groups = {};
};

/// A parameter with its dotted name.
struct NamedParameter {
  std::string name;
  torch::Tensor value;
};

/// SGD, Adam and AdamW as PyTorch defines them, in one pass over memory.
///
///   sgd     g += wd*w; v = mu*v + g (first v = g); w -= lr*(g + mu*v), or lr*v without nesterov
///   adam    g += wd*w; m += (1-b1)(g-m); v = b2*v + (1-b2)g^2; w -= lr/bc1 * m/(sqrt(v)/sqrt(bc2) + eps)
///   adamw   w *= 1 - lr*wd, then adam with wd = 0                                      (arXiv:1711.05101)
///
/// Groups   no weight decay for tensors of at most one dimension (biases, norms) and those named in no_decay; the others
///          decay. Or those given: lr of a parameter is step()'s times its group's lr_scale.
/// Bits     do not depend on the number of threads. 100 steps agree with torch::optim to 1e-6.
/// State    tensors of the parameters' shapes and strides, named <kind>.<parameter>: momentum; exp_avg, exp_avg_sq.
/// Memory   parameters float32 and dense (contiguous or channels_last) on the CPU; elsewhere, and for other types,
///          LibTorch's operations are composed.
/// Errors   std::invalid_argument: `[optimizer] name must be sgd, adam or adamw, got lamb`, values out of range, no
///          parameters; a group that names a parameter which is not there or frozen, or one twice.
class Optimizer {
 public:
  Optimizer(std::vector<NamedParameter> parameters, const OptimizerOptions& options);

  /// Euclidean norm of all gradients together, summed in double; not finite if one of them is not.
  double gradient_norm() const;

  /// Clamps every gradient to [-limit, limit].
  void clip_values(double limit);

  /// Adaptive clipping of each output unit (ClipMode::agc); parameters of the module `head` are left alone. Returns whether a
  /// gradient was made smaller.
  bool clip_units(double limit, const std::string& head);

  /// Updates the parameters that have a gradient. `scale` multiplies every gradient on the way in (clipping by norm).
  /// `momentum` replaces mu or beta1 in this step.
  void step(double lr, double scale = 1, std::optional<double> momentum = std::nullopt);

  /// Drops the gradients: the next backward pass makes new ones.
  void zero_grad();

  int64_t steps() const { return steps_; }
  const std::vector<ParamGroup>& groups() const { return groups_; }
  /// State tensors by name, for saving; they change with the next step.
  std::vector<NamedParameter> state() const;
  /// Copies such tensors back, and the number of steps done.
  /// Errors: DataError as copy_into.
  void restore(int64_t steps, const StateDict& state, const std::string& label);

 private:
  struct Slot {
    NamedParameter parameter;
    torch::Tensor first, second;  // momentum or exp_avg; exp_avg_sq
    double weight_decay = 0, lr_scale = 1;
    bool fast = false;
  };
  struct Chunk {
    size_t slot;
    int64_t begin, size;
  };
  torch::Tensor matched_gradient(const Slot& slot) const;
  void step_composed(Slot& slot, double lr, double scale, double momentum);

  OptimizerOptions options_;
  std::vector<Slot> slots_;
  std::vector<Chunk> chunks_;
  std::vector<ParamGroup> groups_;
  int64_t steps_ = 0;
};

}  // namespace ballast
