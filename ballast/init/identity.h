#pragma once

#include <torch/types.h>

namespace ballast {

/// 1 on the diagonal, 0 elsewhere. Written in place under NoGradGuard; the tensor is returned.
///
/// Errors   std::invalid_argument `[identity] t must have 2 dimensions, got (3, 3, 3)`.
torch::Tensor eye_(torch::Tensor t);

}  // namespace ballast
