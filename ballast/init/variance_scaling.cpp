#include <ballast/init/variance_scaling.h>

#include <cmath>

#include <ballast/base/check.h>
#include <ballast/init/normal.h>
#include <ballast/init/trunc_normal.h>
#include <ballast/init/uniform.h>

namespace ballast {

torch::Tensor variance_scaling_(torch::Tensor w, const VarianceScalingOptions& options, Key key) {
  check(options.scale > 0, "variance_scaling", "scale must be > 0, got ", options.scale);
  const Fans f = fans(w.sizes(), options.fan);
  if (w.numel() == 0) return w;
  const double fan = options.mode == FanMode::in ? f.in : options.mode == FanMode::out ? f.out : (f.in + f.out) / 2;
  const double std = std::sqrt(options.scale / fan);
  switch (options.distribution) {
    case Distribution::normal: return normal_(std::move(w), 0, std, key);
    case Distribution::uniform: return uniform_(std::move(w), -std * std::sqrt(3.0), std * std::sqrt(3.0), key);
    case Distribution::truncated_normal:
      // The standard deviation of a standard normal number cut at 2.
      return trunc_normal_tf_(std::move(w), 0, std / 0.87962566103423978, -2, 2, key);
  }
  return w;
}

torch::Tensor lecun_normal_(torch::Tensor w, const FanOptions& fan, Key key) {
  return variance_scaling_(std::move(w), {.distribution = Distribution::truncated_normal, .fan = fan}, key);
}

torch::Tensor lecun_uniform_(torch::Tensor w, const FanOptions& fan, Key key) {
  return variance_scaling_(std::move(w), {.distribution = Distribution::uniform, .fan = fan}, key);
}

}  // namespace ballast
