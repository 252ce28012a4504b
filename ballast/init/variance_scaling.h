#pragma once

#include <torch/types.h>

#include <ballast/base/fan.h>
#include <ballast/base/key.h>

namespace ballast {

enum class FanMode { in, out, avg };
enum class Distribution { normal, uniform, truncated_normal };

/// Options of variance_scaling_.
struct VarianceScalingOptions {
  double scale = 1;  ///< > 0
  FanMode mode = FanMode::in;
  Distribution distribution = Distribution::normal;
  FanOptions fan = {};
};

/// Draws of variance scale / fan, fan = in, out or (in + out) / 2 of the weight's shape (base/fan.h): normal; uniform
/// within +-sqrt(3 variance); or normal cut at 2 and widened to the same variance.
///
/// Errors   std::invalid_argument `[variance_scaling] scale must be > 0, got 0`; those of fans.
torch::Tensor variance_scaling_(torch::Tensor w, const VarianceScalingOptions& options, Key key);

/// Variance 1 / fan_in; normal is truncated (Klambauer et al. 2017; as in JAX).
torch::Tensor lecun_normal_(torch::Tensor w, const FanOptions& fan, Key key);
torch::Tensor lecun_uniform_(torch::Tensor w, const FanOptions& fan, Key key);

}  // namespace ballast
