#pragma once

#include <torch/types.h>

#include <ballast/base/key.h>

namespace ballast {

/// Each group's (rows = d0 / groups, columns = the rest) matrix becomes gain times a Haar-distributed matrix with
/// orthonormal rows or columns, whichever are fewer: normal draws, numbered along the longer side first,
/// orthonormalized in double by Gram-Schmidt run twice, in panels of rows. No bit depends on LAPACK or the number of threads.
///
/// Source   Saxe et al. 2013, arXiv:1312.6120.
/// Errors   std::invalid_argument `[orthogonal] w must have at least 2 dimensions, got (64)`;
///          `[orthogonal] groups must divide dimension 0, got groups 3 and (64, 8, 3, 3)`.
torch::Tensor orthogonal_(torch::Tensor w, double gain, int64_t groups, Key key);

}  // namespace ballast
