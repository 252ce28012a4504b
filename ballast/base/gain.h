#pragma once

#include <ballast/base/act.h>

namespace ballast {

/// What a layer's weights are scaled by so that a signal z ~ N(0, 1) keeps its size through the activation phi.
enum class GainRule {
  standard,       ///< PyTorch's table: tanh 5/3, sigmoid 1, selu 3/4, else second_moment
  second_moment,  ///< 1 / sqrt E[phi(z)^2]
  variance,       ///< 1 / sqrt Var[phi(z)]
  backward,       ///< 1 / sqrt E[phi'(z)^2]
};

/// a: slope of leaky_relu; elu has alpha 1 here. relu6 counts as relu. `standard` of selu gives up the
/// self-normalizing point, which needs gain 1 (that is its second_moment).
/// Errors   std::invalid_argument `[gain] a must be finite, got nan`.
double gain(Act act, double a = 0.01, GainRule rule = GainRule::standard);

}  // namespace ballast
