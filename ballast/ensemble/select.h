#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <ballast/base/key.h>
#include <ballast/ensemble/metrics.h>
#include <ballast/ensemble/predictions.h>

namespace ballast {

enum class SelectionLoss : uint8_t { nll, brier, error };
/// Errors   std::invalid_argument naming all.
SelectionLoss parse_selection_loss(std::string_view name);

struct GreedyOptions {
  SelectionLoss loss = SelectionLoss::nll;
  /// R, members added at most (with repeats), >= 1.
  int rounds = 25;
  /// Begin with this many best single members instead of none.
  int start = 0;
  /// B > 0: the sum of the counts of B selections, each among a keyed half of the members.
  int bags = 0;
  /// Draws the halves: key.fold_in("bags").fold_in(bag).
  Key key = Key(0);
  /// Cost of each member, ms, and what every set costs beside; with budget > 0 only members that keep a set's cost within
  /// it are added. A repeat costs nothing.
  std::vector<double> cost = {};
  double shared_cost = 0;
  double budget = 0;
  int threads = 0;
};

struct Greedy {
  std::vector<int32_t> order;   ///< members as they were added, of the whole run (of the first bag, if there are bags)
  std::vector<double> loss;     ///< after each addition
  int cut = 0;                  ///< additions that count: the first of the least losses
  std::vector<double> weights;  ///< counts / their sum, one per member
  double nll = 0;               ///< of the weighted mean probability, on the same rows
  double cost = 0;              ///< ms of the chosen set; 0 without costs
};

/// Greedy selection with replacement over the mean probability.
///
/// Round r      over all m the least L((s + p_m) / r), s the sum of those chosen. Equal within 1e-12 relative: a member
///              that is in already, then the better second loss (nll: brier; else nll), then the lowest number.
/// Source       Caruana et al. 2004, "Ensemble selection from libraries of models".
/// Errors       those of check_members(), check_scores(), check_labels(); `[select] ...` for options, no rows, or a budget
///              that no member keeps.
Greedy greedy_select(std::span<const Predictions> members, std::span<const int32_t> label, const GreedyOptions& options = {});

/// A step of prune(): the set after it.
struct PruneStep {
  int32_t dropped = -1;         ///< -1: the full set
  int64_t size = 0;
  double nll = 0;
  Estimate increase;            ///< of the NLL against the full set, paired
};
struct Pruning {
  std::vector<PruneStep> curve; ///< from the full set to one member
  std::vector<int32_t> kept;    ///< members of the smallest set before the first whose upper bound passes the margin
};
/// Drops, one at a time, the member without which the NLL of the mean probability is least, until the upper 95 % bound of the
/// paired increase passes `margin` (nats). The curve goes on to one member.
Pruning prune(std::span<const Predictions> members, std::span<const int32_t> label, double margin = 0.002, Key key = Key(0),
              int threads = 0);

/// What the set loses without a member.
struct WithoutMember {
  int32_t member = 0;
  Estimate nll, accuracy;       ///< paired changes: without less with
  std::string_view verdict;     ///< "keep"; "can go": upper bound of nll under the margin; "harmful": the set is better without it for certain
};
std::vector<WithoutMember> who_can_go(std::span<const Predictions> members, std::span<const int32_t> label, double margin = 0.002,
                                      Key key = Key(0), int threads = 0);

}  // namespace ballast
