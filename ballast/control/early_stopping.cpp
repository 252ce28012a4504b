#include <ballast/control/early_stopping.h>

#include <algorithm>
#include <cmath>

#include <ballast/base/check.h>

namespace ballast {
namespace {

constexpr const char* kStem = "early_stopping";

bool is_better(MonitorMode mode, double value, double than) {
  return mode == MonitorMode::min ? value < than : value > than;
}

bool is_at_or_past(MonitorMode mode, double value, double target) {
  return value == target || is_better(mode, value, target);
}

bool has_improved(const EarlyStoppingOptions& options, double value, double reference,
                  double standard_error) {
  const double gain = options.mode == MonitorMode::min ? reference - value : value - reference;
  return gain > std::max({options.min_delta, options.rel_delta * std::abs(reference),
                          options.noise_z * standard_error});
}

bool minimum_reached(const EarlyStoppingOptions& options, const CheckValue& check) {
  return check.epoch >= options.min_epochs && check.step >= options.min_steps;
}

// The moving average after `value`, or the value itself.
double smoothed(const EarlyStoppingOptions& options, EarlyStoppingState& state, double value) {
  if (options.smooth == 0) return value;
  const double decay = std::exp2(-1 / options.smooth);
  state.smooth_sum = decay * state.smooth_sum + (1 - decay) * value;
  state.smooth_weight = decay * state.smooth_weight + (1 - decay);
  return state.smooth_sum / state.smooth_weight;
}

StopDecision stop(int row, StopReason reason) {
  return {.stop = true, .reason = reason, .row = row};
}

}  // namespace

void check_early_stopping(const EarlyStoppingOptions& options) {
  const auto at_least_0 = [](const char* name, auto value) {
    check(value >= 0, kStem, name, " must be 0 or more, got ", value);
  };
  check(!options.patience || *options.patience >= 1, kStem,
        "patience must be off, or 1 or more, got ", options.patience.value_or(1),
        " (0 means \"at once\" in some programs and \"never\" in others)");
  at_least_0("min_delta", options.min_delta);
  at_least_0("rel_delta", options.rel_delta);
  at_least_0("noise_z", options.noise_z);
  at_least_0("warmup_checks", options.warmup_checks);
  at_least_0("cooldown", options.cooldown);
  at_least_0("min_epochs", options.min_epochs);
  at_least_0("min_steps", options.min_steps);
  at_least_0("smooth", options.smooth);
}

EarlyStoppingState start_early_stopping(const EarlyStoppingOptions& options) {
  check_early_stopping(options);
  EarlyStoppingState state;
  state.reference = options.baseline;
  return state;
}

void start_cooldown(const EarlyStoppingOptions& options, EarlyStoppingState& state) {
  state.cooldown_left = options.cooldown;
  state.wait = 0;
  state.nonfinite_waiting = 0;
}

StopDecision update_early_stopping(const EarlyStoppingOptions& options, EarlyStoppingState& state,
                                   const CheckValue& check) {
  check_early_stopping(options);
  ++state.checks;
  const bool cooling = state.cooldown_left > 0;
  if (cooling) --state.cooldown_left;

  const bool finite = std::isfinite(check.value);
  if (!finite && options.on_nan == OnNan::stop) return stop(1, StopReason::non_finite);
  if (state.checks <= options.warmup_checks) {
    state.wait = 0;
    state.nonfinite_waiting = 0;
    return {.row = 2};
  }
  if (!finite && options.on_nan == OnNan::ignore) return {.row = 3};

  StopDecision decision;
  if (finite) {
    const double value = smoothed(options, state, check.value);
    if (options.divergence && is_better(options.mode, *options.divergence, value)) {
      return stop(4, StopReason::diverged);
    }
    if (!state.best || is_better(options.mode, check.value, *state.best)) {
      state.best = check.value;
      state.best_check = state.checks;
      state.best_step = check.step;
      decision.new_best = true;
    }
    decision.improved =
        !state.reference || has_improved(options, value, *state.reference, check.standard_error);
    const bool reached = options.target && minimum_reached(options, check) &&
                         is_at_or_past(options.mode, value, *options.target);
    if (reached || decision.improved) {
      state.wait = 0;
      state.nonfinite_waiting = 0;
      state.reference = value;
      state.reference_check = state.checks;
      decision.row = reached ? 5 : 6;
      decision.stop = reached;
      decision.reason = reached ? StopReason::target_reached : StopReason::completed;
      return decision;
    }
  }

  if (cooling) {
    decision.row = 7;
    return decision;
  }
  ++state.wait;
  if (!finite) ++state.nonfinite_waiting;
  decision.row = 8;
  if (options.patience && state.wait >= *options.patience && minimum_reached(options, check)) {
    decision.row = 9;
    decision.stop = true;
    decision.reason =
        state.nonfinite_waiting == state.wait ? StopReason::non_finite : StopReason::patience;
  }
  return decision;
}

StopDecision update_early_stopping(std::span<const EarlyStoppingOptions> options,
                                   std::span<EarlyStoppingState> states,
                                   std::span<const CheckValue> values, CombineMonitors combine) {
  check(!options.empty() && options.size() == states.size() && options.size() == values.size(),
        kStem, "one state and one value are required for each of ", options.size(),
        " monitors, got ", states.size(), " and ", values.size());
  StopDecision primary;
  StopDecision at_once;
  StopDecision by_patience;
  size_t exhausted = 0;
  for (size_t i = 0; i < options.size(); ++i) {
    const StopDecision one = update_early_stopping(options[i], states[i], values[i]);
    if (i == 0) primary = one;
    if (!one.stop) continue;
    if (one.row == 9) ++exhausted;
    StopDecision& first = one.row == 9 ? by_patience : at_once;
    if (!first.stop) first = one;
  }
  const bool enough = combine == CombineMonitors::any ? exhausted > 0 : exhausted == options.size();
  const StopDecision& cause = at_once.stop || !enough ? at_once : by_patience;
  primary.stop = cause.stop;
  primary.reason = cause.reason;
  return primary;
}

}  // namespace ballast
