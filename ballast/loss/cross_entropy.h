#pragma once

#include <torch/types.h>

#include <cstdint>

#include <ballast/loss/reduction.h>

namespace ballast {

/// Options of cross_entropy.
struct CrossEntropyOptions {
  /// e, in [0, 1]: the target becomes (1 - e) q + e / K.
  double label_smoothing = 0;
  /// w, (K) or undefined: weight of each class.
  torch::Tensor weight = {};
  /// Rows of this class target count nothing.
  int64_t ignore_index = -100;
  Reduction reduction = Reduction::mean;
};

/// Cross entropy between scores and targets.
///
///   loss_n = -sum_k w_k q'_nk log softmax(logits)_nk,   q' = (1 - e) q + e / K
///   mean   = sum_n loss_n / D,   D = sum of w_{y_n} over the rows that count for class targets, N for probabilities
///
/// Shape    logits: (N, K) or (N, K, d...), floating point; target: int64 (N, d...) with values in [0, K) or
///          ignore_index, or probabilities (N, K, d...). Result: a scalar, or (N, d...) with reduction none.
/// Numbers  half types are computed in float32 and rounded once.
/// Edges    all rows ignored, or an empty batch: 0 with zero gradients (LibTorch: NaN).
/// Source   smoothing: Szegedy et al. 2015, arXiv:1512.00567.
/// Errors   std::invalid_argument `[cross_entropy] label_smoothing must be in [0, 1], got 1.5`;
///          `[cross_entropy] target must be in [0, 10), got 10 at (3)`;
///          `[cross_entropy] target rows must sum to 1, got 0.8 at (2)` (to 1e-3); wrong shapes and types.
torch::Tensor cross_entropy(const torch::Tensor& logits, const torch::Tensor& target,
                            const CrossEntropyOptions& options = {});

/// Targets of mixed samples (mixup, CutMix): row n is lam_n of class a_n and 1 - lam_n of class b_n.
struct MixTarget {
  torch::Tensor a, b;  ///< (N) int64, in [0, K)
  torch::Tensor lam;   ///< (N) or a scalar, in [0, 1]: the share that really came from a
};

/// Cross entropy with the probabilities q = lam onehot(a) + (1 - lam) onehot(b), without building them: equal to
/// cross_entropy(logits, q). Mixing and smoothing commute. Mean over all rows; ignore_index does not apply.
/// Errors   as above; `[cross_entropy] lam must be in [0, 1], got 1.2`.
torch::Tensor cross_entropy(const torch::Tensor& logits, const MixTarget& target, const CrossEntropyOptions& options = {});

}  // namespace ballast
