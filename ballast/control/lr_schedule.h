#pragma once

#include <cstdint>
#include <vector>

namespace ballast {

enum class LrScheduleName { constant, step, multistep, cosine, one_cycle, poly, plateau };

/// Options of lr_at and momentum_at. All lengths are in optimizer steps.
struct LrScheduleOptions {
  LrScheduleName name = LrScheduleName::cosine;
  /// lr0, the base (for one_cycle: the peak) learning rate; > 0.
  double lr = 0.1;
  /// cosine: the value that it falls to; in [0, lr].
  double min_lr = 0.0;
  /// w, length of the linear warm-up before the schedule; >= 0. Must be 0 for one_cycle, which rises by itself.
  int64_t warmup_steps = 0;
  /// Learning rate of the first step of the warm-up; in [0, lr].
  double warmup_lr = 0.0;
  /// step: length of a stair; >= 1.
  int64_t every = 1;
  /// cosine: number of cycles (warm restarts), >= 1; each is cycle_mult >= 1 times as long as the one before, and starts from
  /// cycle_decay in (0, 1] times its peak.
  int64_t cycles = 1;
  double cycle_mult = 1.0;
  double cycle_decay = 1.0;
  /// step, multistep: factor of each stair; > 0.
  double gamma = 0.1;
  /// multistep: first step of each stair but the first, rising, counted from the end of the warm-up.
  std::vector<int64_t> milestones = {};
  /// poly: exponent; > 0.
  double power = 1.0;
  /// one_cycle: share of the steps in which the rate rises, in (0, 1); lr0/div at the start, lr0/(div*final_div) at the end.
  double pct_start = 0.3;
  double div = 25.0;
  double final_div = 1e4;
  /// one_cycle: momentum at the start and end, and at the peak; both in [0, 1).
  double max_momentum = 0.95;
  double min_momentum = 0.85;
  /// Hold the value of an epoch's first step for the whole epoch; then steps_per_epoch >= 1 is needed.
  bool per_epoch = false;
  int64_t steps_per_epoch = 0;
};

/// Learning rate of step t of a run of `total` steps: a pure function, nothing is remembered.
///
///   t < w     warmup_lr + (lr0 - warmup_lr) * t/(w - 1)                        (w = 1: lr0)
///   then, with u = t - w and T = total - w:
///   constant  lr0
///   step      lr0 * gamma^floor(u/every)
///   multistep lr0 * gamma^#{milestones <= u}
///   cosine    min_lr + (p_i - min_lr) * (1 + cos(pi*(u - b_i)/L_i))/2 in cycle i, which begins at b_i, has L_i steps in
///             proportion to cycle_mult^i and the peak p_i = max(min_lr, lr0 * cycle_decay^i); one cycle: b = 0, L = T
///   poly      lr0 * (1 - u/T)^power
///   plateau   lr0; control/plateau.h multiplies it
///   one_cycle lr0/div -> lr0 at step pct_start*T - 1, -> lr0/(div*final_div) at step T - 1, both halves of a cosine
///
/// The values are those of PyTorch's StepLR, MultiStepLR, CosineAnnealingLR, CosineAnnealingWarmRestarts, PolynomialLR, OneCycleLR and, for the warm-up,
/// LinearLR over w - 1 steps.
/// Source   Loshchilov & Hutter 2017, arXiv:1608.03983 (cosine); Smith & Topin 2017, arXiv:1708.07120 (one_cycle).
/// t        in [0, total); a later t counts as the last step.
/// Errors   std::invalid_argument if an option is outside its range, t < 0 or total < 1.
double lr_at(const LrScheduleOptions& options, int64_t t, int64_t total);

/// Momentum of step t: that of one_cycle falls from max_momentum to min_momentum while the rate rises, and back; every
/// other schedule leaves `momentum` as it is.
double momentum_at(const LrScheduleOptions& options, int64_t t, int64_t total, double momentum);

/// True if a new cycle of cosine begins with step t (not the first one).
bool cycle_restarts_at(const LrScheduleOptions& options, int64_t t, int64_t total);

/// Throws what lr_at would throw for these options, before a run starts.
void check_lr_schedule(const LrScheduleOptions& options);

}  // namespace ballast
