#include <ballast/control/budget.h>

#include <algorithm>
#include <cmath>

#include <ballast/base/check.h>

namespace ballast {
namespace {

void check_time(double seconds, const char* name) {
  check(seconds >= 0 && std::isfinite(seconds), "budget", name, " must be 0 or more seconds, got ",
        seconds);
}

void check_facts(const BudgetFacts& facts) {
  check_time(facts.elapsed, "elapsed");
  check_time(facts.step_time, "step_time");
  check_time(facts.check_time, "check_time");
  check_time(facts.save_time, "save_time");
}

}  // namespace

bool fits_budget(const BudgetFacts& facts, double max_time, int64_t steps) {
  check_facts(facts);
  check(steps >= 0, "budget", "steps must be 0 or more, got ", steps);
  if (!(max_time > 0)) return true;
  return facts.elapsed + static_cast<double>(steps) * facts.step_time + facts.check_time +
             facts.save_time <=
         max_time;
}

int64_t steps_that_fit(const BudgetFacts& facts, double max_time, int64_t limit) {
  check_facts(facts);
  check(limit >= 0, "budget", "limit must be 0 or more, got ", limit);
  if (!(max_time > 0)) return limit;
  const double left = max_time - facts.elapsed - facts.check_time - facts.save_time;
  if (left < 0) return 0;
  if (facts.step_time == 0) return limit;
  const double steps = std::floor(left / facts.step_time);
  return steps >= static_cast<double>(limit) ? limit : static_cast<int64_t>(steps);
}

}  // namespace ballast
