#include <ballast/control/lr_range.h>

#include <algorithm>
#include <cmath>

#include <ballast/base/check.h>

namespace ballast {
namespace {
constexpr size_t kSkip = 10;  // the average of the first few losses says little
}

LrRange::LrRange(const LrRangeOptions& options) : options_(options) {
  check(std::isfinite(options.from) && options.from > 0, "lr_range", "from must be > 0, got ", options.from);
  check(std::isfinite(options.to) && options.to > options.from, "lr_range", "to must be above from, got ", options.to, " and ",
        options.from);
  check(options.steps >= 20, "lr_range", "steps must be at least 20, got ", options.steps);
  check(options.smoothing >= 0 && options.smoothing < 1, "lr_range", "smoothing must be in [0, 1), got ", options.smoothing);
  check(options.stop_factor > 1, "lr_range", "stop_factor must be > 1, got ", options.stop_factor);
}

double LrRange::next_lr() const {
  const double share = static_cast<double>(points_.size()) / static_cast<double>(options_.steps - 1);
  return options_.from * std::pow(options_.to / options_.from, share);
}

bool LrRange::add(double loss) {
  if (!std::isfinite(loss)) {
    diverged_ = true;
    return false;
  }
  const double lr = next_lr();
  sum_ = options_.smoothing * sum_ + (1 - options_.smoothing) * loss;
  const double weight = 1 - std::pow(options_.smoothing, static_cast<double>(points_.size() + 1));
  points_.push_back({.lr = lr, .loss = loss, .smoothed = sum_ / weight});
  const double best = std::ranges::min_element(points_, {}, &LrRangePoint::smoothed)->smoothed;
  diverged_ = points_.size() > kSkip && points_.back().smoothed > options_.stop_factor * best;
  return !diverged_ && static_cast<int64_t>(points_.size()) < options_.steps;
}

std::optional<size_t> LrRange::lowest() const {
  if (points_.size() < kSkip + 2) {
    return {};
  }
  const auto it = std::min_element(points_.begin() + kSkip, points_.end(),
                                   [](const LrRangePoint& a, const LrRangePoint& b) { return a.smoothed < b.smoothed; });
  return static_cast<size_t>(it - points_.begin());
}

std::optional<double> LrRange::min_tenth() const {
  const std::optional<size_t> i = lowest();
  return i ? std::optional(points_[*i].lr / 10) : std::nullopt;
}

std::optional<double> LrRange::steepest() const {
  const std::optional<size_t> end = lowest();
  std::optional<double> lr;
  double best = 0;
  // Single losses are noisy, and so is their average at its start: a line through many of them is not.
  const auto reach = static_cast<size_t>(std::max<int64_t>(5, options_.steps / 8));
  for (size_t i = reach; end && i <= *end && i + reach < points_.size(); ++i) {
    double slope = 0;
    for (size_t j = 1; j <= reach; ++j) {
      slope += static_cast<double>(j) * (points_[i + j].loss - points_[i - j].loss);
    }
    if (slope < best) {
      best = slope;
      lr = points_[i].lr;
    }
  }
  return lr;
}

}  // namespace ballast
