#pragma once

#include <torch/types.h>

#include <ballast/base/fan.h>
#include <ballast/base/key.h>

namespace ballast {

/// Standard deviation gain sqrt(2 / (fan_in + fan_out)); uniform: bound gain sqrt(6 / (fan_in + fan_out)).
///
/// Source   Glorot and Bengio 2010.
/// Errors   std::invalid_argument `[xavier] gain must be > 0, got -1`; those of fans.
torch::Tensor xavier_normal_(torch::Tensor w, double gain, const FanOptions& fan, Key key);
torch::Tensor xavier_uniform_(torch::Tensor w, double gain, const FanOptions& fan, Key key);

}  // namespace ballast
