#include <ballast/control/plateau.h>

#include <algorithm>

#include <ballast/base/check.h>

namespace ballast {

void check_plateau(const PlateauOptions& options) {
  check(options.factor > 0 && options.factor < 1, "plateau", "factor must be in (0, 1), got ", options.factor);
  check(options.min_scale >= 0 && options.min_scale <= 1, "plateau", "min_scale must be in [0, 1], got ",
        options.min_scale);
  check(options.rule.patience.has_value(), "plateau", "patience must be 1 or more, got none");
  check_early_stopping(options.rule);
}

bool update_plateau(const PlateauOptions& options, PlateauState& state, const CheckValue& value) {
  check_plateau(options);
  const StopDecision decision = update_early_stopping(options.rule, state.rule, value);
  if (decision.row != 9) return false;
  const double before = state.scale;
  state.scale = std::max(state.scale * options.factor, std::min(options.min_scale, state.scale));
  start_cooldown(options.rule, state.rule);
  return state.scale < before;
}

}  // namespace ballast
