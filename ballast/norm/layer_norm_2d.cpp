#include <ballast/norm/layer_norm_2d.h>

#include <ostream>

#include <ballast/base/check.h>
#include <ballast/norm/norm_input.h>
#include <ballast/norm/ops.h>

namespace ballast {

torch::Tensor layer_norm_2d(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                            const LayerNorm2dOptions& options) {
  detail::check_eps_and_act("layer_norm_2d", options.eps, options.act);
  detail::check_channels("layer_norm_2d", x, options.num_channels);
  detail::check_parameter("layer_norm_2d", "weight", weight, {options.num_channels});
  detail::check_parameter("layer_norm_2d", "bias", bias, {options.num_channels});
  return detail::layer_norm_2d_op(x, weight, bias, options.eps, false, {options.act, options.act_a});
}

LayerNorm2dImpl::LayerNorm2dImpl(LayerNorm2dOptions given) : options(given) {
  check(options.num_channels >= 1, "layer_norm_2d", "num_channels must be >= 1, got ", options.num_channels);
  detail::check_eps_and_act("layer_norm_2d", options.eps, options.act);
  reset();
}

void LayerNorm2dImpl::reset() {
  if (!options.affine) return;
  weight = register_parameter("weight", torch::ones({options.num_channels}));
  bias = register_parameter("bias", torch::zeros({options.num_channels}));
}

torch::Tensor LayerNorm2dImpl::forward(const torch::Tensor& x) { return layer_norm_2d(x, weight, bias, options); }

void LayerNorm2dImpl::pretty_print(std::ostream& stream) const {
  stream << "ballast::LayerNorm2d(" << options.num_channels;
  if (options.act != Act::none) stream << ", " << act_name(options.act);
  stream << ')';
}

}  // namespace ballast
