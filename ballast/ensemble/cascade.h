#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ballast/ensemble/combine.h>
#include <ballast/ensemble/predictions.h>

namespace ballast {

struct CascadeOptions {
  /// Weights of the members, such as those of greedy_select(); empty: equal. Members of weight 0 take no part.
  std::vector<double> weights = {};
  /// ms a row of each member, > 0, and of what every row costs (decoding, preprocessing).
  std::vector<double> cost = {};
  double shared_cost = 0;
  /// One-sided 95 % bounds of what the cascade may lose against the whole ensemble: nats, and share of right rows.
  double max_nll = 0.01;
  double max_accuracy = 0.001;
};

/// Members one after the other: after stage j the running weighted mean probability, tempered by T_j, is the answer if its
/// highest probability is at least tau_j. After the last stage always.
struct Cascade {
  std::vector<int32_t> order;       ///< members, by weight / cost, highest first
  std::vector<double> weights;      ///< of the members in `order`
  std::vector<double> temperature;  ///< T_j of each stage
  std::vector<double> tau;          ///< of each stage but the last; infinity: nobody leaves here
  std::vector<double> cost;         ///< ms of each stage
  double shared_cost = 0;
};

struct CascadeResult {
  Combined combined;
  std::vector<int32_t> stage;       ///< of each row, from 0
  double expected_ms = 0, worst_ms = 0;
};

/// T_j are fitted on calib; tau_j on select: coordinate descent over 50 quantiles of each stage's confidence (and infinity)
/// for the least expected ms within the bounds. Never worse than the bounds on select.
/// Errors   those of combine() and fit_temperature(); `[cascade] ...` for costs that are not > 0 or not one per member.
Cascade fit_cascade(std::span<const Predictions> select, std::span<const int32_t> select_label, std::span<const Predictions> calib,
                    std::span<const int32_t> calib_label, const CascadeOptions& options, int threads = 0);
CascadeResult run_cascade(const Cascade& cascade, std::span<const Predictions> members, int threads = 0);

}  // namespace ballast
