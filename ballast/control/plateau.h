#pragma once

#include <cstdint>

#include <ballast/control/early_stopping.h>

namespace ballast {

/// Options of update_plateau.
struct PlateauOptions {
  /// What an improvement is: mode, min_delta, rel_delta, smooth; `cooldown` checks after a cut do not count; `patience` p.
  EarlyStoppingOptions rule;
  /// Factor of a cut, in (0, 1).
  double factor = 0.1;
  /// The rate never falls below this share of the base rate, in [0, 1].
  double min_scale = 0.0;
};

/// What a checkpoint must keep.
struct PlateauState {
  EarlyStoppingState rule;
  /// The learning rate is the schedule's times this.
  double scale = 1.0;
  bool operator==(const PlateauState&) const = default;
};

/// Cuts the learning rate when `value` no longer improves: the rule of early_stopping.h, and instead of its stop
///
///   scale = max(scale * factor, min_scale),   wait = 0,   the cooldown starts
///
/// at the p-th check in a row without improvement. PyTorch's ReduceLROnPlateau counts one more: its patience is p - 1; with
/// that the values are the same.
/// Returns  true if the rate was cut at this check.
/// Errors   std::invalid_argument if an option is outside its range.
bool update_plateau(const PlateauOptions& options, PlateauState& state, const CheckValue& check);

/// Throws if an option is outside its range, or there is no patience.
void check_plateau(const PlateauOptions& options);

}  // namespace ballast
