#pragma once

#include <torch/types.h>

#include <ballast/base/key.h>

namespace ballast {

/// Normal numbers N(0, std^2), of which exactly ceil(sparsity rows) in each column are 0: those rows for which the pair
/// (bits32, row) is least, bits32 number row * columns + column of key.fold_in("sparse"); the others are those of normal_.
///
/// Source   Martens 2010, "Deep learning via Hessian-free optimization".
/// Errors   std::invalid_argument `[sparse] t must have 2 dimensions, got (64)`;
///          `[sparse] sparsity must be in [0, 1], got 2`; `[normal] std must be >= 0, got -1`.
torch::Tensor sparse_(torch::Tensor t, double sparsity, double std, Key key);

}  // namespace ballast
