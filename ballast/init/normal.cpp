#include <ballast/init/normal.h>

#include <ballast/base/check.h>
#include <ballast/init/fill.h>

namespace ballast {

torch::Tensor normal_(torch::Tensor t, double mean, double std, Key key) {
  check(std >= 0, "normal", "std must be >= 0, got ", std);
  return detail::fill_by_element(std::move(t), [=](uint64_t first, std::span<double> out) {
    fill_normal(key, first, out);
    for (double& x : out) x = mean + std * x;
  });
}

}  // namespace ballast
