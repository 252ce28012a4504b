#pragma once

#include <torch/types.h>

namespace ballast::ops {

/// Euclidean norm of all values, summed in double, with the same bits for any number of threads. No graph is made.
double l2_norm(const torch::Tensor& t);

}  // namespace ballast::ops
