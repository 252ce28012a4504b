#include <ballast/norm/grn.h>

#include <ostream>

#include <ballast/base/check.h>
#include <ballast/norm/channel_ops.h>
#include <ballast/norm/norm_input.h>

namespace ballast {

torch::Tensor grn(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias, double eps) {
  check(weight.defined() && bias.defined(), "grn", "weight and bias must be tensors, got none");
  detail::check_channels("grn", x, weight.size(0));
  detail::check_parameter("grn", "bias", bias, weight.sizes());
  detail::check_eps_and_act("grn", eps, Act::none);
  const torch::Tensor z = detail::in_compute_type(x);
  const torch::Tensor g = detail::norm_over_positions(z);
  const torch::Tensor n = g / (g.mean(1, /*keepdim=*/true) + eps);
  const torch::Tensor scale = detail::per_channel(weight, z) * n + 1;
  return detail::in_form_of(x, at::addcmul(detail::per_channel(bias, z), z, scale));
}

GrnImpl::GrnImpl(GrnOptions given) : options(given) {
  check(options.num_features >= 1, "grn", "num_features must be >= 1, got ", options.num_features);
  detail::check_eps_and_act("grn", options.eps, Act::none);
  reset();
}

void GrnImpl::reset() {
  weight = register_parameter("weight", torch::zeros({options.num_features}));
  bias = register_parameter("bias", torch::zeros({options.num_features}));
}

torch::Tensor GrnImpl::forward(const torch::Tensor& x) { return grn(x, weight, bias, options.eps); }

void GrnImpl::pretty_print(std::ostream& stream) const { stream << "ballast::Grn(" << options.num_features << ')'; }

}  // namespace ballast
