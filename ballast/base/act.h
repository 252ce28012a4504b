#pragma once

#include <array>
#include <string>
#include <string_view>

namespace ballast {

/// Activations by name; the enumerators are the names.
enum class Act {
  none, relu, relu6, leaky_relu, elu, selu, gelu, gelu_tanh, silu, mish, hardswish, tanh, sigmoid, softsign, softplus
};

inline constexpr std::array<std::string_view, 15> kActNames = {
    "none", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "gelu_tanh", "silu", "mish", "hardswish", "tanh",
    "sigmoid", "softsign", "softplus"};

std::string_view act_name(Act act);

/// Errors: std::invalid_argument `[act] act must be one of none, relu, ..., got "rleu"; did you mean "relu"?`
Act parse_act(std::string_view name);

/// phi(z) in double. a: the slope of leaky_relu for z < 0 and elu's alpha; others have no parameter.
/// relu6 min(max(z, 0), 6); gelu z Phi(z); gelu_tanh its tanh form; hardswish z min(max(z + 3, 0), 6) / 6;
/// selu lambda (z, or alpha (e^z - 1)) with Klambauer's constants; mish z tanh(softplus(z)).
double act_value(Act act, double z, double a);
/// phi'(z); at a kink the slope from the left.
double act_slope(Act act, double z, double a);
/// The parameter `a` an activation has when none is given: 0.01 for leaky_relu, 1 for elu, else 0.
double act_default_a(Act act);

}  // namespace ballast
