#pragma once

#include <torch/types.h>

namespace ballast {

/// Every element v; 0; 1. Written in place under NoGradGuard; the tensor is returned. Empty tensors stay.
torch::Tensor constant_(torch::Tensor t, double v);
torch::Tensor zeros_(torch::Tensor t);
torch::Tensor ones_(torch::Tensor t);

}  // namespace ballast
