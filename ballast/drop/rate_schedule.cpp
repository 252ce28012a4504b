#include <ballast/drop/rate_schedule.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numbers>

#include <ballast/base/check.h>
#include <ballast/base/nearest_name.h>
#include <ballast/drop/catalog.h>

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

StemSchedule parse_rate_schedule(std::string_view text) {
  StemSchedule result;
  std::string_view form = text;
  if (const size_t equal = text.find('='); equal != std::string_view::npos) {
    result.stem = text.substr(0, equal);
    form = text.substr(equal + 1);
    std::array<std::string_view, kDrops.size()> stems;
    for (size_t i = 0; i < stems.size(); ++i) stems[i] = kDrops[i].stem;
    check(std::find(stems.begin(), stems.end(), result.stem) != stems.end(), "rate_schedule",
          "the technique must be one of `ballast list drop`, got \"", result.stem, '"', did_you_mean(result.stem, stems));
  }
  const size_t colon = form.find(':');
  const std::string_view name = form.substr(0, colon);
  constexpr std::array<std::string_view, 4> kForms = {"ramp", "cosine", "early", "late"};
  check(std::find(kForms.begin(), kForms.end(), name) != kForms.end(), "rate_schedule",
        "the form must be ramp, cosine, early or late, got \"", name, '"', did_you_mean(name, kForms));
  const bool step = name == "early" || name == "late";
  double share = step ? 0.5 : 1;
  if (colon != std::string_view::npos) {
    const std::string_view digits = form.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), share);
    check(error == std::errc() && end == digits.data() + digits.size() && share >= 0 && share <= 1, "rate_schedule",
          "the share of the run must be in [0, 1], got \"", digits, '"');
  }
  result.schedule = {.curve = step             ? RateCurve::step
                              : name == "ramp" ? RateCurve::linear
                                               : RateCurve::cosine,
                     .from = name == "early" ? 1.0 : 0.0,
                     .to = name == "early" ? 0.0 : 1.0,
                     .end = share};
  return result;
}

}  // namespace ballast
