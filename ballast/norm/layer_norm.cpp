#include <ballast/norm/layer_norm.h>

#include <ostream>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/norm/norm_input.h>
#include <ballast/norm/ops.h>

namespace ballast {

torch::Tensor layer_norm(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                         const LayerNormOptions& options) {
  detail::check_eps_and_act("layer_norm", options.eps, options.act);
  detail::check_last("layer_norm", x, options.shape);
  detail::check_parameter("layer_norm", "weight", weight, options.shape);
  detail::check_parameter("layer_norm", "bias", bias, options.shape);
  return detail::layer_norm_op(x, static_cast<int64_t>(options.shape.size()), weight, bias, options.eps, false,
                               {options.act, options.act_a});
}

LayerNormImpl::LayerNormImpl(LayerNormOptions given) : options(std::move(given)) {
  check(!options.shape.empty() && numel(options.shape) >= 1, "layer_norm",
        "shape must have at least 1 dimension, each >= 1, got ", shape_text(options.shape));
  detail::check_eps_and_act("layer_norm", options.eps, options.act);
  reset();
}

void LayerNormImpl::reset() {
  if (!options.affine) return;
  weight = register_parameter("weight", torch::ones(options.shape));
  if (options.bias) bias = register_parameter("bias", torch::zeros(options.shape));
}

torch::Tensor LayerNormImpl::forward(const torch::Tensor& x) { return layer_norm(x, weight, bias, options); }

void LayerNormImpl::pretty_print(std::ostream& stream) const {
  stream << "ballast::LayerNorm(" << shape_text(options.shape);
  if (options.act != Act::none) stream << ", " << act_name(options.act);
  stream << ')';
}

}  // namespace ballast
