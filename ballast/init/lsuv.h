#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <functional>
#include <string>
#include <vector>

#include <ballast/base/key.h>

namespace ballast {

/// What LSUV makes 1: the mean over channels and positions of the variance across samples, or the paper's variance over
/// the whole tensor, which constant offsets can feign. Both are divided by n.
enum class LsuvStat { across_sample, whole_tensor };

/// Options of lsuv.
struct LsuvOptions {
  /// Variance of each layer's output, in (0, inf); paper: 1.
  double target = 1;
  /// Largest relative error that ends the rounds, in (0, 1); paper: 0.1.
  double tol = 0.05;
  /// Rescale-and-check rounds, >= 1; paper: 10.
  int max_rounds = 3;
  LsuvStat stat = LsuvStat::across_sample;
  /// Begin from orthogonal weights of gain 1 and biases 0.
  bool orthogonal_start = true;
  /// Leave layers before a norm as they are: a norm takes their scale out.
  bool skip_normed = true;
  /// Rescale the last layer too.
  bool include_head = false;
  /// Names of layers to leave as they are, such as features.4.
  std::vector<std::string> skip = {};
  /// Names of the last layer of each residual branch, where the model does not tell them (HasBranches).
  std::vector<std::string> branch_ends = {};
  /// Of the run: the orthogonal start of weight `name` is drawn from key.fold_in("init").fold_in(name).
  Key key = {};
};

/// What happened to one layer, in execution order.
struct LsuvRow {
  std::string name;         ///< features.4
  std::string op;           ///< aten::conv2d
  std::string why_skipped;  ///< "" if it was rescaled
  double before = 0;        ///< variance of its output before its first rescale
  double scale = 1;         ///< what its weight was multiplied by
  double after = 0;         ///< variance in the last forward pass
};

/// Layer-sequential unit variance: rescales the weight of each convolution and linear layer so that its output on the data x
/// has variance `target`, in one forward pass: the output of a layer is linear in its weight, so both are multiplied on the
/// spot, y = b + s (y - b), and everything behind sees the rescaled layer.
///
///   survey    forward of 2 samples: the layers in execution order, whatever the order of registration
///   rescale   forward of x: s = sqrt(T / v); T = target, or target / L for the last layer of each of L residual branches
///   check     forward of x: `after`; a layer out of tol starts another round
///
/// Skipped   layers before a norm, the last layer, later uses of a shared weight, weights that are all 0 (Fixup's ends) or
///           computed (weight norm), and `skip`. They keep their values, but for the orthogonal start of the normed ones.
/// Modes     drops off, norms on batch statistics, no gradients; training flags and buffers are put back, and after an error
///           the parameters too.
/// x         (N, ...): normalized as in training, N >= 64 advised.
/// Forward   must run the layers in the calling thread.
/// Source    Mishkin and Matas 2015, arXiv:1511.06422, which measures layer by layer in a loop.
/// Not       for TorchScript modules.
/// Errors    std::invalid_argument: options out of range; `[lsuv] x must have at least 2 samples, got (1, 3, 32, 32)`;
///           `[lsuv] layer features.4 must vary across samples, got variance 0`; `[lsuv] layer features.4 must be finite, got
///           nan`; `[lsuv] skip must name layers, got "conv9" (nearest: conv8)`; `[lsuv] forward must run layers in this
///           thread, got none`.
std::vector<LsuvRow> lsuv(torch::nn::Module& model, const std::function<torch::Tensor(torch::Tensor)>& forward,
                          const torch::Tensor& x, const LsuvOptions& options);

/// "7 of 9 layers rescaled, by 0.41 to 1.9": for reports.
std::string lsuv_summary(const std::vector<LsuvRow>& rows);

}  // namespace ballast
