#include <ballast/init/xavier.h>

#include <ballast/base/check.h>
#include <ballast/init/variance_scaling.h>

namespace ballast {
namespace {

torch::Tensor fill(torch::Tensor w, double gain, const FanOptions& fan, Distribution distribution, Key key) {
  check(gain > 0, "xavier", "gain must be > 0, got ", gain);
  return variance_scaling_(
      std::move(w), {.scale = gain * gain, .mode = FanMode::avg, .distribution = distribution, .fan = fan}, key);
}

}  // namespace

torch::Tensor xavier_normal_(torch::Tensor w, double gain, const FanOptions& fan, Key key) {
  return fill(std::move(w), gain, fan, Distribution::normal, key);
}

torch::Tensor xavier_uniform_(torch::Tensor w, double gain, const FanOptions& fan, Key key) {
  return fill(std::move(w), gain, fan, Distribution::uniform, key);
}

}  // namespace ballast
