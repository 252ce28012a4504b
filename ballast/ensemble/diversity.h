#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ballast/ensemble/predictions.h>

namespace ballast {

/// Two members on the same rows. N11 both right, N00 both wrong, N10 and N01 one of them.
struct PairDiversity {
  int32_t i = 0, j = 0;
  int64_t n11 = 0, n10 = 0, n01 = 0, n00 = 0;

  double disagreement() const;  ///< (N10 + N01) / N
  double q() const;             ///< (N11 N00 - N01 N10) / (N11 N00 + N01 N10); 0 if the divisor is 0
  double double_fault() const;  ///< N00 / N
  double kappa() const;         ///< 2 (N11 N00 - N01 N10) / ((N11+N10)(N10+N00) + (N11+N01)(N01+N00)); 0 if that is 0
};

/// How members differ. c = members right on a row, a = mean accuracy, p = probabilities, weights equal.
struct Diversity {
  std::vector<double> accuracy;      ///< of each member
  std::vector<PairDiversity> pairs;  ///< i < j
  double mean_disagreement = 0;
  double kohavi_wolpert = 0;         ///< mean c (M - c) / M^2 = (M - 1) / (2M) mean disagreement
  double group_kappa = 0;            ///< 1 - mean c (M - c) / (M (M - 1) a (1 - a)); 0 if a is 0 or 1
  double mutual_information = 0;     ///< mean of H(mean p) - mean_m H(p_m), nats
  /// Exact: Brier(mean p) = mean Brier - mean_m sum_k (p_mk - mean p_k)^2.
  double brier_of_mean = 0, mean_brier = 0, ambiguity = 0;
  /// Exact (Heskes 1998): NLL(geometric) = mean NLL - mean_m KL(P_geometric, p_m).
  double nll_of_geometric = 0, mean_nll = 0, log_ambiguity = 0;
};

/// Errors   those of check_members(), check_scores() and check_labels().
/// Source   Kuncheva and Whitaker 2003.
Diversity diversity(std::span<const Predictions> members, std::span<const int32_t> label, int threads = 0);

/// H(mean p) - mean_m H(p_m) of each row, nats: 0 where all members say the same.
std::vector<double> row_information(std::span<const Predictions> members, int threads = 0);

/// Pairs from right/wrong alone: right[m] has a byte for each row. Counts 64 rows at a time.
std::vector<PairDiversity> pair_counts(std::span<const std::vector<uint8_t>> right, int threads = 0);

/// Mean Jensen-Shannon divergence of two members' probabilities, nats.
double jensen_shannon(const Predictions& a, const Predictions& b);

/// Pairs with equal scores on every row: most likely the same member twice.
std::vector<PairDiversity> identical_pairs(std::span<const Predictions> members);

}  // namespace ballast
