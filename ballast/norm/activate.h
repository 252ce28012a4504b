#pragma once

#include <torch/types.h>

#include <ballast/base/act.h>

namespace ballast {

/// phi(x) by LibTorch's operators; see base/act.h for the formulas.
///
/// Shape    any; floating point.
/// In place with `may_overwrite`, and an activation whose gradient needs only its result (relu, relu6, leaky_relu with
///          a >= 0, tanh), x itself is overwritten and returned: x must not be needed by its
///          producer's gradient (outputs of convolutions, linear layers and norms are not) and be no leaf.
torch::Tensor activate(torch::Tensor x, Act act, double a, bool may_overwrite = false);

}  // namespace ballast
