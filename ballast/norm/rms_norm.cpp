#include <ballast/norm/rms_norm.h>

#include <ostream>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/norm/norm_input.h>
#include <ballast/norm/ops.h>

namespace ballast {

torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& weight, const RmsNormOptions& options) {
  detail::check_eps_and_act("rms_norm", options.eps, options.act);
  detail::check_last("rms_norm", x, options.shape);
  detail::check_parameter("rms_norm", "weight", weight, options.shape);
  return detail::layer_norm_op(x, static_cast<int64_t>(options.shape.size()), weight, {}, options.eps, true,
                               {options.act, options.act_a});
}

RmsNormImpl::RmsNormImpl(RmsNormOptions given) : options(std::move(given)) {
  check(!options.shape.empty() && numel(options.shape) >= 1, "rms_norm",
        "shape must have at least 1 dimension, each >= 1, got ", shape_text(options.shape));
  detail::check_eps_and_act("rms_norm", options.eps, options.act);
  reset();
}

void RmsNormImpl::reset() {
  if (options.affine) weight = register_parameter("weight", torch::ones(options.shape));
}

torch::Tensor RmsNormImpl::forward(const torch::Tensor& x) { return rms_norm(x, weight, options); }

void RmsNormImpl::pretty_print(std::ostream& stream) const {
  stream << "ballast::RmsNorm(" << shape_text(options.shape);
  if (options.act != Act::none) stream << ", " << act_name(options.act);
  stream << ')';
}

}  // namespace ballast
