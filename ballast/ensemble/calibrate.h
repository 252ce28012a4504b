#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ballast/base/key.h>
#include <ballast/ensemble/combine.h>
#include <ballast/ensemble/predictions.h>

namespace ballast {

/// Why a temperature is what it is; spelled as printed.
enum class TemperatureReason : uint8_t {
  fitted,             ///< the optimum
  too_few,            ///< T = 1: fewer than 100 rows, or labels of one class only
  separable,          ///< T = 1: the lower 1 / T the worse, without end (every row is right)
  uninformative,      ///< T = 1: the flatter the better, without end
  not_better,         ///< T = 1: the optimum is not better on its own data
  no_held_out_gain,   ///< T = 1: five-fold cross-validation does not gain
};
std::string_view to_string(TemperatureReason reason);

struct Temperature {
  double value = 1;
  TemperatureReason reason = TemperatureReason::fitted;
  double nll_before = 0, nll_after = 0;  ///< on the data of the fit, at T = 1 and at `value`
  double held_out_gain = 0;              ///< cross-validated NLL at T = 1 less that at the folds' temperatures
  int64_t rows = 0;
  int evaluations = 0;                   ///< passes over the data that searched for the optimum
};

/// Temperature scaling: the T that minimises the mean cross entropy of softmax(g / T), g the scores (of probability inputs
/// log max(p, 1e-30)). Convex in b = 1 / T:
///
///   f' = mean(E_p[g] - g_y),   f'' = mean(Var_p[g])
///
/// Solver     Newton in b within [1/20, 20], bisection when a step leaves the bracket or halves it too little; ends at a
///            relative step of 1e-9 or after 60 evaluations. No learning rate, no mode.
/// Guards     TemperatureReason; the result is never worse than T = 1 on its own data. The order of classes never changes.
/// Folds      five, by position in a keyed order (key of the number of rows); each fold's T is one Newton step from the
///            whole's optimum, which is exact to second order.
/// Source     Guo et al. 2017, arXiv:1706.04599; the solver and the guards are ours.
/// Errors     std::invalid_argument of check_scores() and check_labels().
Temperature fit_temperature(const Predictions& scores, std::span<const int32_t> label, int threads = 0);

/// Scores that a temperature is fitted to and divides: log max(p, 1e-30); of votes (hard_vote, borda, instant_runoff)
/// log(share * members + 1), since a share of 0 is no probability of 0.
std::vector<float> calibration_scores(const Combined& combined, Rule rule, size_t members);

/// Vector scaling: softmax(a_k g_k + b_k).
struct VectorScaling {
  std::vector<double> a, b;
  double lambda = 0;
  /// Whether it beats temperature scaling: N >= 50 K and cross-validated NLL lower by more than a standard error.
  bool chosen = false;
  double nll = 0;                 ///< on its own data
  double held_out_nll = 0, held_out_nll_temperature = 0, standard_error = 0;
  int64_t moved = 0;              ///< rows whose top class changes
};

/// Minimises mean CE + lambda / 2 (|a - 1|^2 + |b|^2) by L-BFGS; lambda of 1e-4 ... 1e1 by five-fold cross-validation.
/// Errors as above.
VectorScaling fit_vector(const Predictions& scores, std::span<const int32_t> label, int threads = 0);
std::vector<float> apply_vector(const Predictions& scores, const VectorScaling& v);

}  // namespace ballast
