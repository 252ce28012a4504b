#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ballast/ensemble/predictions.h>

namespace ballast {

/// Weights of mean_probability by maximum likelihood.
struct FittedWeights {
  std::vector<double> weights;  ///< >= 0, sum 1
  double nll = 0, nll_uniform = 0;
  /// No weights lower the NLL by more than this: log max_m G_m, G_m = mean_n p_nm(y_n) / P_n(y_n).
  double certificate = 0;
  int rounds = 0;
};

/// Maximises mean_n log sum_m w_m p_nm(y_n), concave on the simplex, by EM from equal weights: w_m <- w_m G_m, until
/// max_m G_m - 1 <= 1e-5 or 5,000 rounds. The NLL never rises.
/// Errors   those of check_members(), check_scores(), check_labels(); `[weights] at least one row is required, got none`.
FittedWeights fit_weights(std::span<const Predictions> members, std::span<const int32_t> label, int threads = 0);

/// p(y) of each member and row, at least 1e-30: (M, N).
std::vector<float> true_class_probabilities(std::span<const Predictions> members, std::span<const int32_t> label, int threads = 0);

}  // namespace ballast
