#include <ballast/norm/rms_norm_2d.h>

#include <ostream>

#include <ballast/base/check.h>
#include <ballast/norm/norm_input.h>
#include <ballast/norm/ops.h>

namespace ballast {

torch::Tensor rms_norm_2d(const torch::Tensor& x, const torch::Tensor& weight, const RmsNorm2dOptions& options) {
  detail::check_eps_and_act("rms_norm_2d", options.eps, options.act);
  detail::check_channels("rms_norm_2d", x, options.num_channels);
  detail::check_parameter("rms_norm_2d", "weight", weight, {options.num_channels});
  return detail::layer_norm_2d_op(x, weight, {}, options.eps, true, {options.act, options.act_a});
}

RmsNorm2dImpl::RmsNorm2dImpl(RmsNorm2dOptions given) : options(given) {
  check(options.num_channels >= 1, "rms_norm_2d", "num_channels must be >= 1, got ", options.num_channels);
  detail::check_eps_and_act("rms_norm_2d", options.eps, options.act);
  reset();
}

void RmsNorm2dImpl::reset() {
  if (options.affine) weight = register_parameter("weight", torch::ones({options.num_channels}));
}

torch::Tensor RmsNorm2dImpl::forward(const torch::Tensor& x) { return rms_norm_2d(x, weight, options); }

void RmsNorm2dImpl::pretty_print(std::ostream& stream) const {
  stream << "ballast::RmsNorm2d(" << options.num_channels;
  if (options.act != Act::none) stream << ", " << act_name(options.act);
  stream << ')';
}

}  // namespace ballast
