#pragma once

// Not public.

#include <torch/nn/module.h>
#include <torch/types.h>

namespace ballast::detail {

/// Registers what a norm over channels holds, as the options say: weight 1 and bias 0; running mean 0, running variance 1 and
/// the number of batches 0.
template <class Impl, class Options>
void register_channel_state(Impl& norm, const Options& options) {
  const int64_t channels = options.num_features;
  if (options.affine) {
    norm.weight = norm.register_parameter("weight", torch::ones({channels}));
    norm.bias = norm.register_parameter("bias", torch::zeros({channels}));
  }
  if (options.track_running_stats) {
    norm.running_mean = norm.register_buffer("running_mean", torch::zeros({channels}));
    norm.running_var = norm.register_buffer("running_var", torch::ones({channels}));
    norm.num_batches_tracked = norm.register_buffer("num_batches_tracked", torch::zeros({}, torch::kLong));
  }
}

}  // namespace ballast::detail
