#include <ballast/base/act.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include <ballast/base/check.h>
#include <ballast/base/nearest_name.h>

namespace ballast {
namespace {

constexpr double kSeluScale = 1.0507009873554804934193349852946;
constexpr double kSeluAlpha = 1.6732632423543772848170429916717;
constexpr double kGeluCubic = 0.044715;

double logistic(double z) {
  return 1 / (1 + std::exp(-z));
}
double normal_cdf(double z) {
  return 0.5 * std::erfc(-z / std::numbers::sqrt2);
}
double normal_density(double z) {
  return std::exp(-0.5 * z * z) * std::numbers::inv_sqrtpi / std::numbers::sqrt2;
}
double softplus(double z) {
  return std::max(z, 0.0) + std::log1p(std::exp(-std::abs(z)));
}

}  // namespace

std::string_view act_name(Act act) {
  return kActNames[static_cast<size_t>(act)];
}

Act parse_act(std::string_view name) {
  for (size_t i = 0; i < kActNames.size(); ++i) {
    if (kActNames[i] == name) return static_cast<Act>(i);
  }
  std::string list;
  for (std::string_view known : kActNames) {
    if (!list.empty()) list += ", ";
    list += known;
  }
  fail("act", "act must be one of ", list, ", got \"", name, '"', did_you_mean(name, kActNames));
}

double act_default_a(Act act) {
  if (act == Act::leaky_relu) return 0.01;
  return act == Act::elu ? 1.0 : 0.0;
}

double act_value(Act act, double z, double a) {
  switch (act) {
    case Act::none: return z;
    case Act::relu: return std::max(z, 0.0);
    case Act::relu6: return std::clamp(z, 0.0, 6.0);
    case Act::leaky_relu: return z > 0 ? z : a * z;
    case Act::elu: return z > 0 ? z : a * std::expm1(z);
    case Act::selu: return kSeluScale * (z > 0 ? z : kSeluAlpha * std::expm1(z));
    case Act::gelu: return z * normal_cdf(z);
    case Act::gelu_tanh: {
      const double u = std::numbers::sqrt2 * std::numbers::inv_sqrtpi * (z + kGeluCubic * z * z * z);
      return 0.5 * z * (1 + std::tanh(u));
    }
    case Act::silu: return z * logistic(z);
    case Act::mish: return z * std::tanh(softplus(z));
    case Act::hardswish: return z * std::clamp(z + 3, 0.0, 6.0) / 6;
    case Act::tanh: return std::tanh(z);
    case Act::sigmoid: return logistic(z);
    case Act::softsign: return z / (1 + std::abs(z));
    case Act::softplus: return softplus(z);
  }
  return z;
}

double act_slope(Act act, double z, double a) {
  switch (act) {
    case Act::none: return 1;
    case Act::relu: return z > 0 ? 1 : 0;
    case Act::relu6: return z > 0 && z <= 6 ? 1 : 0;
    case Act::leaky_relu: return z > 0 ? 1 : a;
    case Act::elu: return z > 0 ? 1 : a * std::exp(z);
    case Act::selu: return kSeluScale * (z > 0 ? 1 : kSeluAlpha * std::exp(z));
    case Act::gelu: return normal_cdf(z) + z * normal_density(z);
    case Act::gelu_tanh: {
      const double c = std::numbers::sqrt2 * std::numbers::inv_sqrtpi;
      const double t = std::tanh(c * (z + kGeluCubic * z * z * z));
      return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * c * (1 + 3 * kGeluCubic * z * z);
    }
    case Act::silu: {
      const double s = logistic(z);
      return s * (1 + z * (1 - s));
    }
    case Act::mish: {
      const double t = std::tanh(softplus(z));
      return t + z * (1 - t * t) * logistic(z);
    }
    case Act::hardswish: return z <= -3 ? 0 : z <= 3 ? (2 * z + 3) / 6 : 1;
    case Act::tanh: {
      const double t = std::tanh(z);
      return 1 - t * t;
    }
    case Act::sigmoid: {
      const double s = logistic(z);
      return s * (1 - s);
    }
    case Act::softsign: {
      const double d = 1 + std::abs(z);
      return 1 / (d * d);
    }
    case Act::softplus: return logistic(z);
  }
  return 1;
}

}  // namespace ballast
