#include <ballast/init/kaiming.h>

#include <cmath>

#include <ballast/base/check.h>

namespace ballast {
namespace {

torch::Tensor fill(torch::Tensor w, const KaimingOptions& o, Distribution distribution, Key key) {
  check(std::isfinite(o.a), "kaiming", "a must be finite, got ", o.a);
  const double g = gain(o.act, o.a, o.rule);
  return variance_scaling_(std::move(w),
                           {.scale = g * g, .mode = o.mode, .distribution = distribution, .fan = o.fan}, key);
}

}  // namespace

torch::Tensor kaiming_normal_(torch::Tensor w, const KaimingOptions& options, Key key) {
  return fill(std::move(w), options, Distribution::normal, key);
}

torch::Tensor kaiming_uniform_(torch::Tensor w, const KaimingOptions& options, Key key) {
  return fill(std::move(w), options, Distribution::uniform, key);
}

}  // namespace ballast
