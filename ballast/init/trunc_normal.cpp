#include <ballast/init/trunc_normal.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include <ballast/base/check.h>
#include <ballast/base/key_kernel.h>
#include <ballast/init/fill.h>
#include <ballast/init/round.h>

namespace ballast {
namespace {

double normal_cdf(double z) {
  return 0.5 * std::erfc(-z / std::numbers::sqrt2);
}

// mean + std z, z in [alpha, beta], within [low, high].
torch::Tensor fill(torch::Tensor t, double mean, double std, double alpha, double beta, double low, double high, Key key) {
  // Above the mean the mass is taken from the other tail, where the distribution function keeps its digits.
  const bool mirror = alpha > 0;
  const double from = mirror ? -beta : alpha, to = mirror ? -alpha : beta;
  const double left = normal_cdf(from), right = normal_cdf(-to), mass = normal_cdf(to) - left;
  check(mass > 0, "trunc_normal", "[a, b] must hold some of the mass, got [", low, ", ", high, "], mean ", mean,
        ", std ", std);
  low = detail::smallest_from(low, t.scalar_type());
  high = detail::largest_to(high, t.scalar_type());
  check(low <= high, "trunc_normal", "[a, b] must hold a value of t's type, got the neighbours ", high, " and ", low);
  return detail::fill_by_element(std::move(t), [=](uint64_t first, std::span<double> out) {
    fill_uniform(key, first, out);
    std::array<double, detail::kFillChunk> sign;
    for (size_t i = 0; i < out.size(); ++i) {
      const double p = left + out[i] * mass, q = right + (1 - out[i]) * mass;
      out[i] = p <= q ? p : q;
      sign[i] = p <= q ? 1.0 : -1.0;
    }
    normal_quantiles(out.data(), out.size());
    for (size_t i = 0; i < out.size(); ++i) {
      const double z = std::min(std::max(sign[i] * out[i], from), to);
      out[i] = std::min(std::max(mean + std * (mirror ? -z : z), low), high);
    }
  });
}

void check_bounds(double std, double a, double b) {
  check(std > 0, "trunc_normal", "std must be > 0, got ", std);
  check(a < b, "trunc_normal", "a must be < b, got ", a, " and ", b);
}

}  // namespace

torch::Tensor trunc_normal_(torch::Tensor t, double mean, double std, double a, double b, Key key) {
  check_bounds(std, a, b);
  return fill(std::move(t), mean, std, (a - mean) / std, (b - mean) / std, a, b, key);
}

torch::Tensor trunc_normal_tf_(torch::Tensor t, double mean, double std, double a, double b, Key key) {
  check_bounds(std, a, b);
  return fill(std::move(t), mean, std, a, b, mean + std * a, mean + std * b, key);
}

}  // namespace ballast
