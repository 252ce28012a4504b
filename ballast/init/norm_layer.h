#pragma once

#include <torch/nn/module.h>

namespace ballast::detail {

/// Whether a module normalizes: LibTorch's by type, ballast's by role (a holder without parameters and buffers does not).
bool is_norm_layer(const torch::nn::Module& module);

}  // namespace ballast::detail
