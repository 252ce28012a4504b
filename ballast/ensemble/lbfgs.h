#pragma once

#include <functional>
#include <span>
#include <vector>

namespace ballast::detail {

struct LbfgsResult {
  double value = 0;
  int evaluations = 0;
  bool converged = false;
};

/// Minimises a smooth function from `x` on, by liblbfgs. `f` gives the value at x and fills the gradient.
/// Ends where |gradient| <= epsilon max(1, |x|), or where rounding leaves no descent.
LbfgsResult minimize_lbfgs(const std::function<double(std::span<const double> x, std::span<double> gradient)>& f,
                           std::vector<double>& x, double epsilon, int max_iterations = 2000);

}  // namespace ballast::detail
