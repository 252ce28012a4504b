#include <ballast/base/gain.h>

#include <cmath>
#include <numbers>

#include <ballast/base/check.h>

namespace ballast {
namespace {

struct Gains {
  double second_moment, variance, backward;
};

// For z ~ N(0, 1); where no closed form exists, by quadrature to 17 digits (the test repeats it).
Gains gains(Act act, double a) {
  switch (act) {
    case Act::none: return {1, 1, 1};
    case Act::relu:
    case Act::relu6: a = 0; [[fallthrough]];
    case Act::leaky_relu: {
      const double second = (1 + a * a) / 2, mean = (1 - a) * std::numbers::inv_sqrtpi / std::numbers::sqrt2;
      return {1 / std::sqrt(second), 1 / std::sqrt(second - mean * mean), 1 / std::sqrt(second)};
    }
    case Act::elu: return {1.2451983007007066, 1.2708434178501965, 1.2234285575526209};
    case Act::selu: return {1.0, 1.0, 0.96602577697390117};
    case Act::gelu: return {1.5335304411955352, 1.7009262433633331, 1.4811144127083482};
    case Act::gelu_tanh: return {1.5335805216661469, 1.7009165616954504, 1.4811680580933506};
    case Act::silu: return {1.6765324703310912, 1.787187222100442, 1.6233202579524973};
    case Act::mish: return {1.4868475812732081, 1.5920253810994462, 1.4447552325473195};
    case Act::hardswish: return {1.7366572127665416, 1.8138714738131827, 1.6700763674413823};
    case Act::tanh: return {1.5925374197228314, 1.5925374197228314, 1.4674135916307951};
    case Act::sigmoid: return {1.8462285453386054, 4.8013133720399622, 4.7226460859379743};
    case Act::softsign: return {2.3375333631085397, 2.3375333631085397, 2.095780608943311};
    case Act::softplus: return {1.0418668355353017, 1.9191259801076564, 1.8462285453386054};
  }
  return {1, 1, 1};
}

}  // namespace

double gain(Act act, double a, GainRule rule) {
  check(std::isfinite(a), "gain", "a must be finite, got ", a);
  if (rule == GainRule::standard) {
    if (act == Act::tanh) return 5.0 / 3;
    if (act == Act::sigmoid) return 1;
    if (act == Act::selu) return 0.75;
  }
  const Gains g = gains(act, a);
  if (rule == GainRule::variance) return g.variance;
  return rule == GainRule::backward ? g.backward : g.second_moment;
}

}  // namespace ballast
