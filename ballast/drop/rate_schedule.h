#pragma once

#include <string>
#include <string_view>

namespace ballast {

/// How a rate runs from `from` to `to` between `begin` and `end`. Needs no torch.
enum class RateCurve { constant, linear, cosine, step };

struct RateSchedule {
  RateCurve curve = RateCurve::constant;
  /// Values before and after; constant is `to` throughout.
  double from = 0, to = 1;
  /// Shares of the run in [0, 1], begin <= end.
  double begin = 0, end = 1;
};

/// The rate of a drop technique, or a factor of it, at progress t of a run.
///
///   u = clamp((t - begin) / (end - begin), 0, 1), 1 where begin = end <= t
///   linear  from + (to - from) u      cosine  from + (to - from)(1 - cos(pi u)) / 2
///   step    from before end, then to  constant  to
///
/// Use      from 0 to p: DropBlock's ramp (arXiv:1810.12890) and curriculum dropout (arXiv:1703.06229); p to 0 by a step:
///          early dropout, 0 to p by a step: late dropout (arXiv:2303.01500). set_drop_rate (drop_layer.h) applies it.
/// Errors   std::invalid_argument: `[rate_schedule] begin must be <= end, got 1 and 0`; values outside [0, 1].
double rate_at(const RateSchedule& schedule, double progress);

/// A schedule of the factor of one technique's rates ("drop_block"), or of all ("").
struct StemSchedule {
  std::string stem;
  RateSchedule schedule;
};

/// Takes [STEM=]FORM apart; shares are of the run, in [0, 1].
///
///   ramp[:END]     from 0 linearly to P at END (1)     cosine[:END]   the same along a half cosine
///   early[:SHARE]  P, then 0 from SHARE (0.5) on       late[:SHARE]   0, then P from SHARE (0.5) on
///
/// Errors   std::invalid_argument: `[rate_schedule] the form must be ramp, cosine, early or late, got "rmp"; did you mean
///          "ramp"`; a share outside [0, 1]; a stem that is not in the catalog of drops.
StemSchedule parse_rate_schedule(std::string_view text);

}  // namespace ballast
