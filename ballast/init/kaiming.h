#pragma once

#include <torch/types.h>

#include <ballast/base/fan.h>
#include <ballast/base/gain.h>
#include <ballast/base/key.h>
#include <ballast/init/variance_scaling.h>

namespace ballast {

/// Options of kaiming_normal_ and kaiming_uniform_.
struct KaimingOptions {
  FanMode mode = FanMode::in;
  /// The activation after the layer, its parameter, and how its gain is counted (base/gain.h).
  Act act = Act::relu;
  double a = 0;
  GainRule rule = GainRule::standard;
  FanOptions fan = {};
};

/// Standard deviation gain(act, a, rule) / sqrt(fan): fan_in keeps the forward variance, fan_out the backward one.
/// kaiming_uniform_ with leaky_relu and a = sqrt 5 is U(+-1/sqrt fan_in), LibTorch's own start.
///
/// Source   He et al. 2015, arXiv:1502.01852.
/// Errors   std::invalid_argument `[kaiming] a must be finite, got nan`; those of fans.
torch::Tensor kaiming_normal_(torch::Tensor w, const KaimingOptions& options, Key key);
torch::Tensor kaiming_uniform_(torch::Tensor w, const KaimingOptions& options, Key key);

}  // namespace ballast
