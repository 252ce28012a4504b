#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace ballast {

enum class HeadBias { zero, value, log_prior };

/// Options of head_.
struct HeadOptions {
  /// The weight is multiplied by it: 0 makes the initial loss exactly ln K (with bias zero).
  double scale = 0;
  HeadBias bias = HeadBias::zero;
  /// Of bias value.
  double value = 0;
  /// Of log_prior: outputs are independent yes/no questions.
  bool sigmoid = false;
  /// Of log_prior: n_k, training samples of each class, as many as there are outputs.
  std::vector<int64_t> counts = {};
  /// N of log_prior; 0: the sum of counts (right where each sample has one class).
  int64_t samples = 0;
};

/// The classifier's start: w *= scale, and its bias.
///
///   zero, value   b = 0, value
///   log_prior     b_k = ln((n_k + 1) / (N + K)): with scale 0 the predicted probabilities are the classes' frequencies
///                 (smoothed by one sample); sigmoid: b_k = ln(pi / (1 - pi)), pi = (n_k + 1) / (N + 2)
///
/// `b` may be undefined with bias zero. A weight that holds NaN or Inf becomes 0 with scale 0.
/// Source   the prior of a rare class: Lin et al. 2017, arXiv:1708.02002, section 3.3.
/// Errors   std::invalid_argument `[head] counts must have 10 entries, got 9`; `[head] counts must be >= 0, got -1`;
///          `[head] scale must be >= 0, got -1`; `[head] samples must be at least every count, got 5 and 7`.
void head_(torch::Tensor w, torch::Tensor b, const HeadOptions& options);

}  // namespace ballast
