#pragma once

#include <torch/types.h>

// Private to the room: the operators behind cross_entropy.

namespace ballast::detail {

/// What rows of scores (N, K, d...) are held against: `target` int64 classes (N, d...) or probabilities (N, K, d...); with
/// `other` and `lam` (two more class targets' tensors, (N)) the mixture lam onehot(target) + (1 - lam) onehot(other).
struct RowTarget {
  torch::Tensor target;
  torch::Tensor other = {}, lam = {};
  torch::Tensor weight = {};  ///< (K) or undefined
  double label_smoothing = 0;
  int64_t ignore_index = -100;
};

/// The loss of each row, (N, d...), and its share of the divisor of the mean, of the same shape and type.
struct RowLosses {
  torch::Tensor loss, share;
};

/// The operator ballast::cross_entropy: logits float32 or float64, target's tensors of the same type where floating point.
RowLosses cross_entropy_rows(const torch::Tensor& logits, const RowTarget& target);

/// The same as a composition of LibTorch's operators, which can be differentiated any number of times, also by a target
/// of probabilities.
RowLosses composed_cross_entropy_rows(const torch::Tensor& logits, const RowTarget& target);

}  // namespace ballast::detail
