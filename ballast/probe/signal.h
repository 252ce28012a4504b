#pragma once

#include <torch/types.h>

#include <cstdint>
#include <limits>
#include <vector>

namespace ballast {

/// What measure_signal() looks at.
struct SignalOptions {
  /// Where the channels of y stand: 1 for (N, C, ...), -1 for (N, L, C) and (N, C).
  int64_t channel_dim = 1;
  /// Values <= low or >= high count as saturated.
  float low = -std::numeric_limits<float>::infinity();
  float high = std::numeric_limits<float>::infinity();
  /// Correlations cost more than all the rest; without them both fields stay NaN.
  bool correlations = true;
};

/// What a batch of activations is like. A unit is a channel; a place is a channel at one position.
struct Signal {
  int64_t samples = 0, channels = 0, positions = 0;
  bool finite = true;
  double mean = 0;
  double std = 0;     ///< over all values
  double across = 0;  ///< across-sample variance: at each place over the samples, then the mean over places
  double zeros = 0;      ///< share of values that are exactly 0
  double saturated = 0;  ///< share of values beyond the bounds
  double dead_units = 0;       ///< share of channels that are 0 on all samples and positions
  double saturated_units = 0;  ///< share of channels that are beyond the bounds on all samples and positions
  std::vector<double> channel_mean;      ///< over samples and positions
  std::vector<double> channel_across;    ///< across-sample variance of each channel
  std::vector<double> channel_variance;  ///< over samples and positions
  /// Mean |correlation| of pairs of at most 64 channels over samples and positions, and of pairs of at most 64 samples
  /// over channels and positions; NaN with fewer than two that vary.
  double channel_correlation = std::numeric_limits<double>::quiet_NaN();
  double sample_correlation = std::numeric_limits<double>::quiet_NaN();
};

/// Measures a batch of activations y: (N, C), (N, C, ...) or (N, L, C), floating point, N >= 1, any strides.
///
/// Numbers  float sums over the samples of each place, shifted by the first sample; double sums over places. The
///          across-sample variance divides by N - 1 (0 for one sample). No bit of it depends on threads.
/// Cost     one pass over y, and matrix products of 64 rows and 64 columns.
/// Errors   std::invalid_argument `[signal] y must be floating point and have at least 2 dimensions, got Long [8]`.
Signal measure_signal(const torch::Tensor& y, const SignalOptions& options = {});

}  // namespace ballast
