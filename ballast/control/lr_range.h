#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace ballast {

/// Options of LrRange.
struct LrRangeOptions {
  /// First and last rate; 0 < from < to.
  double from = 1e-7;
  double to = 10;
  /// Rates tried, >= 20.
  int64_t steps = 200;
  /// beta of the moving average of the losses, in [0, 1).
  double smoothing = 0.98;
  /// The test ends where the averaged loss is above this many times its lowest value; > 1.
  double stop_factor = 4;
};

struct LrRangePoint {
  double lr = 0;
  double loss = 0;      ///< of this step
  double smoothed = 0;
};

/// Learning-rate range test: the rate rises from step to step, the loss is watched.
///
///   lr_i = from * (to/from)^(i/(steps - 1)),   a_i = beta a_{i-1} + (1 - beta) loss_i,   smoothed_i = a_i / (1 - beta^(i+1))
///
///   add(loss)       goes on?
///   not finite      no; the point is left out
///   i > 10 and smoothed > stop_factor * lowest    no
///   last step       no
///   otherwise       yes
///
/// Source   Smith 2017, arXiv:1506.01186; the averaging and the end are those of fastai's lr_find.
/// Errors   std::invalid_argument for options out of range.
class LrRange {
 public:
  explicit LrRange(const LrRangeOptions& options);

  /// The rate of the next step.
  double next_lr() const;
  /// The loss of that step. Whether the test goes on.
  bool add(double loss);

  const std::vector<LrRangePoint>& points() const { return points_; }
  /// True if the loss rose too far, or was not finite.
  bool diverged() const { return diverged_; }
  /// The rate at which the loss falls fastest per decade: the slope of a line through the losses of steps/8 points to each side,
  /// up to the lowest averaged loss. Nothing if it falls nowhere there.
  std::optional<double> steepest() const;
  /// A tenth of the rate at the lowest averaged loss, over points from 10 on. Nothing with fewer than 12 points.
  std::optional<double> min_tenth() const;

 private:
  std::optional<size_t> lowest() const;
  LrRangeOptions options_;
  std::vector<LrRangePoint> points_;
  double sum_ = 0;
  bool diverged_ = false;
};

}  // namespace ballast
