#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <ballast/ensemble/predictions.h>

namespace ballast {

/// How the members' scores of a row become one; spelled as in the command line. With p = softmax(z), l = log p:
enum class Rule : uint8_t {
  mean_probability,  ///< sum_m w_m p_mk; also the probability
  mean_logit,        ///< sum_m w_m z_mk (l for probability inputs); probability: softmax
  geometric,         ///< sum_m w_m l_mk; probability: softmax. Equal to mean_logit up to rounding: row constants cancel
  median,            ///< median over members (even M: mean of the middle two); probability: score / sum. No weights
  trimmed_mean,      ///< mean without the floor(M / 10) lowest and highest; probability: score / sum. No weights
  hard_vote,         ///< sum_m w_m [top(m) = k]; probability: share of the votes
  borda,             ///< sum_m w_m b_mk, b = classes below k + half of those tied with k; probability: share of the points
  instant_runoff,    ///< see vote.h; probability: shares in the deciding round
};
std::string_view to_string(Rule rule);
/// Errors   std::invalid_argument naming the rules, and the nearest one.
Rule parse_rule(std::string_view name);
/// All, in the order above.
std::span<const Rule> all_rules();
/// median and trimmed_mean do not.
bool takes_weights(Rule rule);

struct CombineOptions {
  Rule rule = Rule::mean_probability;
  /// w, >= 0, divided by their sum; empty: equal. A member of weight 0 is as absent.
  std::vector<double> weights = {};
  /// T of each member, > 0: z / T_m comes first. Empty: 1.
  std::vector<double> member_temperature = {};
  /// 0: all usable cores. The result has the same bits for any number.
  int threads = 0;
};

struct Combined {
  int32_t k = 0;
  /// (N, k), rows that sum to 1.
  std::vector<float> probability;
  std::vector<int32_t> label;
  /// How the label was decided: 0 highest score; 1 of equal ones the highest mean_probability (same weights); 2 of equal
  /// ones again the lowest class. Instant run-off: the highest level of any elimination.
  std::vector<uint8_t> tie_level;

  int64_t size() const { return static_cast<int64_t>(label.size()); }
  Predictions view() const { return {probability.data(), size(), k, false}; }
};

/// Several members' predictions as one.
///
/// Inside a member  top(m) is the class of the highest score, the lowest id of equal ones.
/// Numbers          float32, members added in the order given in fixed groups of four; votes and points in double.
///                  The same bits for every number of threads and every CPU.
/// Source           Kittler et al. 1998 (mean, median, vote); Borda 1781; Lakshminarayanan et al. 2017, arXiv:1612.01474.
/// Errors           std::invalid_argument: those of check_members() and check_scores();
///                  `[combine] weights must be >= 0, sum > 0, one per member, got 4 for 5`;
///                  `[combine] median takes no weights`; a temperature that is not > 0.
Combined combine(std::span<const Predictions> members, const CombineOptions& options = {});

}  // namespace ballast
