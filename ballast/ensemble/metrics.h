#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ballast/base/key.h>
#include <ballast/ensemble/predictions.h>

namespace ballast {

/// An interval of 95 %.
struct Bounds {
  double low = 0, high = 0;
};

/// How good probabilities are. n = 0 gives zeros.
///
///   nll        mean of -log max(p_y, 1e-30), nats
///   brier      mean of sum_k (p_k - [k = y])^2, in [0, 2]
///   ece        sum_b n_b / N |accuracy_b - confidence_b|, 15 equal bins (lo, hi] of the confidence; 0 lies in the first
///   ace        the same with bins of equal count; equal confidences are never split
///   class_ece  mean over classes of the ECE of p_k against [k = y]
///   mce        the largest |accuracy_b - confidence_b| of the bins of ece with at least 30 rows
///
/// Source   Guo et al. 2017, arXiv:1706.04599 (ece, mce); Nixon et al. 2019, arXiv:1904.01685 (ace, class_ece);
///          Brier 1950, summed over classes.
struct Quality {
  int64_t n = 0;
  double accuracy = 0, nll = 0, brier = 0, ece = 0, ace = 0, class_ece = 0, mce = 0;
};
struct QualityBounds {
  Bounds accuracy, nll, brier, ece, ace, class_ece, mce;
};

/// What each row says; quality() is a function of it.
struct RowScores {
  std::vector<double> nll, brier, confidence;
  std::vector<uint8_t> right;
};

inline constexpr int kCalibrationBins = 15;

/// The bin of a confidence in [0, 1]: clamp(ceil(c bins) - 1, 0, bins - 1), computed in double.
int confidence_bin(double confidence, int bins = kCalibrationBins);

struct CalibrationBin {
  double low = 0, high = 0;
  int64_t n = 0;
  double confidence = 0, accuracy = 0;  ///< means
};
/// A reliability diagram.
std::vector<CalibrationBin> calibration_bins(std::span<const double> confidence, std::span<const uint8_t> right,
                                             int bins = kCalibrationBins);

/// `p` are probabilities. `predicted`: the labels given, such as those of Combined; empty: the top class.
/// Errors   std::invalid_argument of check_labels().
RowScores row_scores(const Predictions& p, std::span<const int32_t> label, std::span<const int32_t> predicted = {});
Quality quality(const Predictions& p, std::span<const int32_t> label, std::span<const int32_t> predicted = {});

/// 95 % percentile bootstrap over rows: 1,000 replicates, above 100,000 rows 200. Replicate r draws its rows with the key
/// key.fold_in("bootstrap").fold_in(r): row j is the high half of n times 64 bits, numbers 2i and 2i + 1 from block i.
/// The same key resamples the same rows of every table of n rows. The bins of ace are those of the sample.
QualityBounds bootstrap_quality(const Predictions& p, std::span<const int32_t> label, std::span<const int32_t> predicted, Key key,
                                int threads = 0);

/// A mean over rows with its interval, resampled as above.
struct Estimate {
  double value = 0;
  Bounds bounds;
};
Estimate bootstrap_mean(std::span<const double> rows, Key key, int threads = 0);
/// mean(a - b), row by row.
Estimate bootstrap_difference(std::span<const double> a, std::span<const double> b, Key key, int threads = 0);

/// What the ECE of perfect probabilities would be: of 200 sets of labels drawn from `p` (key.fold_in("perfect"), set s, number
/// i for row i). ECE is biased upward: compare it with this.
struct PerfectEce {
  double mean = 0, sd = 0;
  Bounds bounds;
};
PerfectEce perfect_ece(const Predictions& p, Key key, int threads = 0);

}  // namespace ballast
