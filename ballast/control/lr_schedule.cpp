#include <ballast/control/lr_schedule.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>

#include <ballast/base/check.h>

namespace ballast {
namespace {

constexpr const char* kStem = "lr_schedule";

bool is_positive(double x) { return x > 0 && std::isfinite(x); }

// From `from` at share 0 to `to` at share 1, along half a cosine.
double cosine_between(double from, double to, double share) {
  return to + (from - to) * (1 + std::cos(std::numbers::pi * share)) / 2;
}

// `low` at step 0, `peak` at step pct_start*T - 1, `end` at step T - 1.
double one_cycle(const LrScheduleOptions& options, int64_t u, int64_t total, double low,
                 double peak, double end) {
  const double top = options.pct_start * static_cast<double>(total) - 1;
  const double last = static_cast<double>(total) - 1;
  const auto step = static_cast<double>(u);
  if (step <= top) return top > 0 ? cosine_between(low, peak, step / top) : peak;
  return last > top ? cosine_between(peak, end, (step - top) / (last - top)) : end;
}

struct Cycle {
  int64_t number = 0, begin = 0, end = 0;
};

// The cycle of step u of `total`: ends at the rounded share of a geometric series.
Cycle cycle_of(const LrScheduleOptions& options, int64_t u, int64_t total) {
  double sum = 0, length = 1;
  for (int64_t i = 0; i < options.cycles; ++i, length *= options.cycle_mult) sum += length;
  Cycle cycle{.end = total};
  double done = 0;
  length = 1;
  for (int64_t i = 0; i < options.cycles; ++i, length *= options.cycle_mult) {
    done += length;
    const int64_t end = i + 1 == options.cycles
                            ? total
                            : std::llround(static_cast<double>(total) * done / sum);
    if (u < end) return {i, cycle.begin, end};
    cycle.begin = end;
  }
  return cycle;
}

// The step that decides the value of step t.
int64_t effective_step(const LrScheduleOptions& options, int64_t t, int64_t total) {
  check_lr_schedule(options);
  check(t >= 0, kStem, "step must be 0 or more, got ", t);
  check(total >= 1, kStem, "total must be 1 or more, got ", total);
  t = std::min(t, total - 1);
  return options.per_epoch ? t - t % options.steps_per_epoch : t;
}

}  // namespace

void check_lr_schedule(const LrScheduleOptions& options) {
  const auto must = [](bool ok, const auto&... parts) { check(ok, kStem, parts...); };
  must(is_positive(options.lr), "lr must be above 0, got ", options.lr);
  must(options.min_lr >= 0 && options.min_lr <= options.lr,
       "min_lr must be in [0, lr = ", options.lr, "], got ", options.min_lr);
  must(options.warmup_lr >= 0 && options.warmup_lr <= options.lr,
       "warmup_lr must be in [0, lr = ", options.lr, "], got ", options.warmup_lr);
  must(options.warmup_steps >= 0, "warmup must be 0 or more steps, got ", options.warmup_steps);
  must(!options.per_epoch || options.steps_per_epoch >= 1,
       "steps_per_epoch must be 1 or more, got ", options.steps_per_epoch);
  switch (options.name) {
    case LrScheduleName::constant:
    case LrScheduleName::plateau:
      break;
    case LrScheduleName::cosine:
      must(options.cycles >= 1, "cycles must be 1 or more, got ", options.cycles);
      must(options.cycle_mult >= 1 && std::isfinite(options.cycle_mult),
           "cycle_mult must be 1 or more, got ", options.cycle_mult);
      must(options.cycle_decay > 0 && options.cycle_decay <= 1,
           "cycle_decay must be in (0, 1], got ", options.cycle_decay);
      break;
    case LrScheduleName::step:
      must(options.every >= 1, "every must be 1 or more steps, got ", options.every);
      must(is_positive(options.gamma), "gamma must be above 0, got ", options.gamma);
      break;
    case LrScheduleName::multistep: {
      must(is_positive(options.gamma), "gamma must be above 0, got ", options.gamma);
      const auto wrong = std::ranges::adjacent_find(options.milestones, std::greater_equal<>());
      must(wrong == options.milestones.end(), "milestones must rise, got ",
           wrong == options.milestones.end() ? 0 : *wrong, " before ",
           wrong == options.milestones.end() ? 0 : *std::next(wrong));
      break;
    }
    case LrScheduleName::poly:
      must(is_positive(options.power), "power must be above 0, got ", options.power);
      break;
    case LrScheduleName::one_cycle:
      must(options.warmup_steps == 0, "one_cycle rises by itself: warmup must be 0, got ",
           options.warmup_steps, " steps");
      must(options.pct_start > 0 && options.pct_start < 1, "pct_start must be in (0, 1), got ",
           options.pct_start);
      must(is_positive(options.div), "div must be above 0, got ", options.div);
      must(is_positive(options.final_div), "final_div must be above 0, got ", options.final_div);
      for (const double m : {options.min_momentum, options.max_momentum}) {
        must(m >= 0 && m < 1, "momentum of one_cycle must be in [0, 1), got ", m);
      }
      break;
  }
}

double lr_at(const LrScheduleOptions& options, int64_t t, int64_t total) {
  const int64_t step = effective_step(options, t, total);
  const int64_t w = std::min(options.warmup_steps, total);
  if (step < w) {
    if (w == 1) return options.lr;
    return options.warmup_lr + (options.lr - options.warmup_lr) *
                                   (static_cast<double>(step) / static_cast<double>(w - 1));
  }
  const int64_t u = step - w;
  const double share = static_cast<double>(u) / static_cast<double>(total - w);
  switch (options.name) {
    case LrScheduleName::constant:
    case LrScheduleName::plateau:
      break;
    case LrScheduleName::step:
      return options.lr * std::pow(options.gamma, static_cast<double>(u / options.every));
    case LrScheduleName::multistep: {
      const auto passed =
          std::ranges::upper_bound(options.milestones, u) - options.milestones.begin();
      return options.lr * std::pow(options.gamma, static_cast<double>(passed));
    }
    case LrScheduleName::cosine: {
      const Cycle cycle = cycle_of(options, u, total - w);
      const double peak = std::max(
          options.min_lr, options.lr * std::pow(options.cycle_decay, static_cast<double>(cycle.number)));
      return cosine_between(peak, options.min_lr,
                            static_cast<double>(u - cycle.begin) / static_cast<double>(cycle.end - cycle.begin));
    }
    case LrScheduleName::poly:
      return options.lr * std::pow(1 - share, options.power);
    case LrScheduleName::one_cycle:
      return one_cycle(options, u, total - w, options.lr / options.div, options.lr,
                       options.lr / options.div / options.final_div);
  }
  return options.lr;
}

double momentum_at(const LrScheduleOptions& options, int64_t t, int64_t total, double momentum) {
  const int64_t step = effective_step(options, t, total);
  if (options.name != LrScheduleName::one_cycle) return momentum;
  return one_cycle(options, step, total, options.max_momentum, options.min_momentum,
                   options.max_momentum);
}

bool cycle_restarts_at(const LrScheduleOptions& options, int64_t t, int64_t total) {
  check_lr_schedule(options);
  const int64_t w = std::min(options.warmup_steps, total);
  if (options.name != LrScheduleName::cosine || t <= w || t >= total) return false;
  return cycle_of(options, t - w, total - w).begin == t - w;
}

}  // namespace ballast
