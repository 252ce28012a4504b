#pragma once

#include <torch/types.h>

#include <ballast/base/key.h>

namespace ballast {

/// Element i becomes mean + std z_i, z_i = normal(key, i).
///
/// Errors   std::invalid_argument `[normal] std must be >= 0, got -1`.
torch::Tensor normal_(torch::Tensor t, double mean, double std, Key key);

}  // namespace ballast
