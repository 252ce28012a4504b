#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <ballast/ensemble/combine.h>
#include <ballast/ensemble/predictions.h>

namespace ballast {

enum class StackForm : uint8_t {
  full,    ///< K x MK weights and K biases
  shared,  ///< a weight per member and K biases
};

struct StackOptions {
  /// Nothing: shared where N < 50 M K, else full.
  std::optional<StackForm> form = std::nullopt;
  /// lambda > 0; nothing: of 1e-4, 1e-3 ... 1e2 by five-fold cross-validation.
  std::optional<double> lambda = std::nullopt;
  int threads = 0;
};

struct Stack {
  StackForm form = StackForm::full;
  int64_t members = 0;
  int32_t k = 0;
  double lambda = 0;
  /// full: (K, M K), row-major, feature m K + c; shared: (M).
  std::vector<double> weights;
  std::vector<double> bias;
  /// mean CE + lambda / 2 |W|^2 on the rows of the fit, and how often it was evaluated for the last fit.
  double objective = 0;
  int evaluations = 0;
  /// Cross-validated NLL of each lambda tried: {lambda, nll}; empty if lambda was given.
  std::vector<std::pair<double, double>> tried;
};

/// Stacking: multinomial logistic regression on the members' log-probabilities, clipped at log 1e-7, each member's row
/// centred. Minimises mean CE + lambda / 2 |W|^2 (biases free; scikit-learn's C = 1 / (lambda N)) by L-BFGS to a gradient of
/// 1e-7 of the parameters, in coordinates that the features' second moments have made round.
///
/// Rows     must be held out from the members: out-of-fold, or of role select. The caller sees to that.
/// Folds    by position in a keyed order of the rows.
/// Source   Wolpert 1992; Ting and Witten 1999.
/// Errors   those of check_members(), check_scores(), check_labels(); `[stack] ...` for fewer than 10 rows, labels of one
///          class only, or lambda <= 0.
Stack fit_stack(std::span<const Predictions> members, std::span<const int32_t> label, const StackOptions& options = {});

/// Errors   std::invalid_argument if members differ in number or classes from those of the fit.
Combined apply_stack(const Stack& stack, std::span<const Predictions> members, int threads = 0);

}  // namespace ballast
