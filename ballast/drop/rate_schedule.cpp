#include <ballast/drop/rate_schedule.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include <ballast/base/check.h>

namespace ballast {

double rate_at(const RateSchedule& s, double progress) {
  const auto share = [](const char* name, double value) {
    check(value >= 0 && value <= 1, "rate_schedule", name, " must be in [0, 1], got ", value);
  };
  share("from", s.from);
  share("to", s.to);
  share("begin", s.begin);
  share("end", s.end);
  check(s.begin <= s.end, "rate_schedule", "begin must be <= end, got ", s.begin, " and ", s.end);
  share("progress", progress);
  if (s.curve == RateCurve::constant) return s.to;
  if (s.curve == RateCurve::step) return progress < s.end ? s.from : s.to;
  const double u = progress >= s.end ? 1 : progress <= s.begin ? 0 : (progress - s.begin) / (s.end - s.begin);
  const double v = s.curve == RateCurve::linear ? u : (1 - std::cos(std::numbers::pi * u)) / 2;
  return s.from + (s.to - s.from) * v;
}

}  // namespace ballast
