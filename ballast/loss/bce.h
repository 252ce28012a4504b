#pragma once

#include <torch/types.h>

#include <optional>

#include <ballast/loss/reduction.h>

namespace ballast {

/// Options of bce_with_logits.
struct BceOptions {
  /// e, in [0, 1]: the target becomes t (1 - e) + e / 2, or + e / K with per_class (timm).
  double label_smoothing = 0;
  bool per_class = false;
  /// Broadcast to x, or undefined: weight of each term; weight P of the positive terms.
  torch::Tensor weight = {}, pos_weight = {};
  /// v: targets become 1 where t > v, else 0, before smoothing.
  std::optional<double> target_threshold = {};
  /// Sum over the classes and mean over the rows, in place of the mean of all.
  bool sum_classes = false;
  Reduction reduction = Reduction::mean;
};

/// Binary cross entropy of each class for itself, from scores.
///
///   loss = w ((1 - t) x + (1 + (P - 1) t) l),   l = softplus(-|x|) + max(-x, 0) = -log sigmoid(x)
///
/// Shape    x: (N, K) or any, floating point; t: the same shape, in [0, 1]. Result: a scalar, or x's shape with none.
/// Numbers  finite for any finite x. Half types are computed in float32 and rounded once.
/// Use      several labels a picture; or one, with one-hot and mixed targets (timm's recipe).
/// Source   smoothing as Szegedy et al. 2015, arXiv:1512.00567; thresholds as timm's BinaryCrossEntropy.
/// Errors   std::invalid_argument: `[bce] target must have the shape of x, got (8, 9) and (8, 10)`;
///          `[bce] label_smoothing must be in [0, 1], got 1.5`; x or t not floating point.
torch::Tensor bce_with_logits(const torch::Tensor& x, const torch::Tensor& target, const BceOptions& options = {});

}  // namespace ballast
