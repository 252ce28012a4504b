#pragma once

// No torch in this header.

#include <ballast/io/prediction_file.h>
#include <ballast/train/metrics.h>

namespace ballast {

/// Metrics of pictures with several labels: functions of a table with `several_labels`, in double, with the same bits for any
/// number of threads. compute_metrics() and fill_rows() call these for such a table.
///
///   loss         mean over pictures of sum_k BCE(logit_k, target_k), no smoothing: what training minimizes
///   map          mean over the classes that occur of sum_n (R_n - R_(n-1)) P_n, over the distinct scores of the class from
///                the highest down; equal scores enter together. NaN if no class occurs
///   micro_f1     2 TP / (2 TP + FP + FN) over all classes, a class being predicted where its probability is above 0.5; 0 if
///                nothing is predicted and nothing there
///   exact_match  share of pictures whose predicted classes are exactly their own
///
/// Per class: support, predicted, correct (true positives), and from them precision, recall, f1.
/// A row with a non-finite logit predicts nothing, stands last in every ranking, is no match and is counted in `nonfinite`; it
/// does not enter loss.
/// Source   map as scikit-learn's average_precision_score(average="macro"), f1_score(average="micro"), accuracy_score.
/// Errors   std::invalid_argument if the table's sizes disagree or a target is neither 0 nor 1.
Metrics compute_label_metrics(const PredictionTable& table);

/// Fills `loss`; inf where a logit is not finite.
void fill_label_rows(PredictionTable& table);

}  // namespace ballast
