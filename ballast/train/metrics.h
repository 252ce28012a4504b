#pragma once

// No torch in this header.

#include <cstdint>
#include <string>
#include <vector>

#include <ballast/io/prediction_file.h>

namespace ballast {

/// Metrics of one class. Without a sample of the class (support 0) or a prediction of it, the ratios are 0.
struct ClassMetrics {
  int64_t support = 0, predicted = 0, correct = 0;
  double precision = 0, recall = 0, f1 = 0;
  double average_precision = 0;    ///< of several labels a picture
};

/// Everything is a function of the table, in double, summed in fixed chunks of 1024 rows.
///
/// rank of the target = #{larger logits} + #{equal logits with a lower class}; top-k counts rank < k. A row with a
/// non-finite logit is wrong, has confidence 0 and is counted in `nonfinite`; it does not enter loss, nll and ece.
struct Metrics {
  int64_t n = 0, nonfinite = 0;
  double loss = 0;                 ///< mean cross entropy, no smoothing
  double loss_se = 0;              ///< its standard error
  double nll_tempered = 0;         ///< mean cross entropy of logits / temperature (arXiv:2501.19195)
  double nll_tempered_se = 0;
  double temperature = 1;          ///< the one that minimizes it on this table
  double top1 = 0, top1_se = 0, top5 = 0, top5_se = 0;  ///< shares; top5 is 1 for 5 classes or fewer
  double balanced_acc = 0;         ///< mean recall over the classes that occur
  double brier = 0;                ///< mean squared distance to the one-hot target
  double ece = 0;                  ///< 15 equal bins (lo, hi] of the confidence
  std::vector<ClassMetrics> per_class;
  std::vector<int64_t> confusion;  ///< row-major [target][prediction]

  /// Of several labels a picture (label_metrics.h): n, nonfinite, loss, per_class and these; all else is NaN or empty.
  bool several_labels = false;
  double map = 0, micro_f1 = 0;
  double exact_match = 0, exact_match_se = 0;

  /// The value of a metric by name, one of metric_names(several_labels).
  /// Errors: std::invalid_argument naming them.
  double value(const std::string& name) const;
};

/// Names that `Metrics::value` knows, in the order in which they are printed and recorded: loss, nll_tempered, top1, top5,
/// balanced_acc, brier, ece; of several labels a picture loss, map, micro_f1, exact_match.
const std::vector<std::string>& metric_names(bool several_labels = false);
/// true where a larger value is better.
/// Errors: std::invalid_argument for an unknown name.
bool metric_is_maximized(const std::string& name);

/// Fills pred, rank, loss and confidence of a table from its logits and targets (of several labels loss alone). A row with a
/// non-finite logit gets rank -1, loss inf and confidence 0.
/// Errors: std::invalid_argument if the table's sizes disagree or a target is out of range.
void fill_rows(PredictionTable& table);

/// Needs index, target, logits and what fill_rows fills. An empty table gives n = 0.
/// Errors: std::invalid_argument if the table's sizes disagree or a target is out of range.
Metrics compute_metrics(const PredictionTable& table);

}  // namespace ballast
