#include <ballast/norm/filter_response_norm.h>

#include <ostream>

#include <ballast/base/check.h>
#include <ballast/norm/channel_ops.h>
#include <ballast/norm/norm_input.h>

namespace ballast {

torch::Tensor filter_response_norm(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                   const torch::Tensor& tau, const torch::Tensor& e, double eps) {
  check(weight.defined(), "filter_response_norm", "weight must be a tensor, got none");
  detail::check_channels("filter_response_norm", x, weight.size(0));
  detail::check_eps_and_act("filter_response_norm", eps, Act::none);
  for (const auto& [name, t] : {std::pair{"bias", bias}, std::pair{"tau", tau}}) {
    detail::check_parameter("filter_response_norm", name, t, weight.sizes());
  }
  const torch::Tensor z = detail::in_compute_type(x);
  torch::Tensor added = torch::full({}, eps, z.options().requires_grad(false));
  if (e.defined()) added = added + e.to(z.scalar_type()).abs().reshape({});
  const torch::Tensor scale =
      detail::per_channel(weight, z) * (detail::mean_square_over_positions(z) + added).rsqrt();
  torch::Tensor y = bias.defined() ? at::addcmul(detail::per_channel(bias, z), z, scale) : z * scale;
  if (tau.defined()) {
    // Not maximum: that halves the gradient where both are equal, as they are for every zero at the start.
    const torch::Tensor threshold = detail::per_channel(tau, z);
    y = at::where(y > threshold, y, threshold);
  }
  return detail::in_form_of(x, y);
}

FilterResponseNormImpl::FilterResponseNormImpl(FilterResponseNormOptions given) : options(given) {
  check(options.num_features >= 1, "filter_response_norm", "num_features must be >= 1, got ", options.num_features);
  detail::check_eps_and_act("filter_response_norm", options.eps, Act::none);
  reset();
}

void FilterResponseNormImpl::reset() {
  weight = register_parameter("weight", torch::ones({options.num_features}));
  bias = register_parameter("bias", torch::zeros({options.num_features}));
  if (options.tlu) tau = register_parameter("tau", torch::zeros({options.num_features}));
  if (options.learn_eps) eps = register_parameter("eps", torch::full({1}, 1e-4));
}

torch::Tensor FilterResponseNormImpl::forward(const torch::Tensor& x) {
  return filter_response_norm(x, weight, bias, tau, eps, options.eps);
}

void FilterResponseNormImpl::pretty_print(std::ostream& stream) const {
  stream << "ballast::FilterResponseNorm(" << options.num_features << (options.tlu ? "" : ", no threshold") << ')';
}

}  // namespace ballast
