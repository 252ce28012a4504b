#include <ballast/init/uniform.h>

#include <ballast/base/check.h>
#include <ballast/init/fill.h>
#include <ballast/init/round.h>

namespace ballast {

torch::Tensor uniform_(torch::Tensor t, double a, double b, Key key) {
  check(a < b, "uniform", "a must be < b, got ", a, " and ", b);
  const double most = detail::largest_below(b, t.scalar_type());
  return detail::fill_by_element(std::move(t), [=](uint64_t first, std::span<double> out) {
    fill_uniform(key, first, out);
    for (double& x : out) x = std::min(a + (b - a) * x, most);
  });
}

}  // namespace ballast
