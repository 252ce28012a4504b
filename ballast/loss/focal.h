#pragma once

#include <torch/types.h>

#include <cstdint>

#include <ballast/loss/reduction.h>

namespace ballast {

/// Options of focal_loss.
struct FocalOptions {
  /// gamma >= 0: how much easy classes count less; 0 gives cross_entropy.
  double gamma = 2;
  /// (K) or undefined: weight of each class.
  torch::Tensor alpha = {};
  /// e, in [0, 1]: the target becomes (1 - e) q + e / K.
  double label_smoothing = 0;
  /// Rows of this class target count nothing.
  int64_t ignore_index = -100;
  Reduction reduction = Reduction::mean;
};

/// Cross entropy in which what the model already knows counts less.
///
///   loss_n = -sum_k alpha_k (1 - p_k)^gamma q'_nk log p_nk,   p = softmax(logits); the gradient flows through p too
///   mean   = sum_n loss_n / rows that count
///
/// Shape    as cross_entropy: logits (N, K) or (N, K, d...); target int64 classes or probabilities of the logits' shape.
/// Edges    all rows ignored, or an empty batch: 0 with zero gradients.
/// Source   Lin et al. 2017, arXiv:1708.02002 (there for sigmoids; alpha is off by default, 0.25 in the paper).
/// Errors   std::invalid_argument: `[focal] gamma must be >= 0, got -1`; `[focal] target must be in [0, 10), got 10`;
///          wrong shapes and types.
torch::Tensor focal_loss(const torch::Tensor& logits, const torch::Tensor& target, const FocalOptions& options = {});

}  // namespace ballast
