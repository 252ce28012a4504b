#include <ballast/norm/evo_norm.h>

#include <ostream>

#include <ballast/base/check.h>
#include <ballast/norm/channel_ops.h>
#include <ballast/norm/norm_input.h>
#include <ballast/ops/activation.h>

namespace ballast {
namespace {

void check_input(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias, const torch::Tensor& v,
                 double eps) {
  check(weight.defined() && bias.defined(), "evo_norm", "weight and bias must be tensors, got none");
  detail::check_channels("evo_norm", x, weight.size(0));
  detail::check_parameter("evo_norm", "bias", bias, weight.sizes());
  detail::check_parameter("evo_norm", "v", v, weight.sizes());
  detail::check_eps_and_act("evo_norm", eps, Act::none);
}

}  // namespace

EvoNormB0Result evo_norm_b0(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                            const torch::Tensor& v, const torch::Tensor& running_var, bool training, double eps) {
  check_input(x, weight, bias, v, eps);
  const torch::Tensor z = detail::in_compute_type(x);
  torch::Tensor var;
  if (training) {
    if (x.numel() == 0) return {x.clone(), torch::zeros({x.size(1)}, z.options().requires_grad(false))};
    if (detail::values_per_channel(x) == 1) {
      fail("evo_norm", "x must have more than 1 value per channel in training, got ", detail::shape_text(x));
    }
    var = detail::moments_over_batch(z).var;
  } else {
    check(running_var.defined(), "evo_norm", "eval needs a running variance, got none");
    detail::check_parameter("evo_norm", "running_var", running_var, weight.sizes());
    var = detail::per_channel(running_var, z);
  }
  const torch::Tensor gamma = detail::per_channel(weight, z), beta = detail::per_channel(bias, z);
  const torch::Tensor batch_std = (var + eps).sqrt();
  torch::Tensor y;
  if (v.defined()) {
    const torch::Tensor inst_std = (detail::moments_over_positions(z).var + eps).sqrt();
    const torch::Tensor divisor = at::maximum(at::addcmul(inst_std, z, detail::per_channel(v, z)), batch_std);
    y = at::addcdiv(beta, gamma * z, divisor);
  } else {
    y = at::addcmul(beta, z, gamma / batch_std);
  }
  return {detail::in_form_of(x, y), var.detach().flatten()};
}

torch::Tensor evo_norm_s0(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                          const torch::Tensor& v, int64_t num_groups, double eps) {
  check_input(x, weight, bias, v, eps);
  check(num_groups >= 1 && x.size(1) % num_groups == 0, "evo_norm", "num_groups must divide channels, got ", num_groups,
        " and ", x.size(1));
  if (x.numel() == 0) return x.clone();
  if (x.numel() == x.size(0) * num_groups) {
    fail("evo_norm", "each group must hold more than 1 value, got ", detail::shape_text(x), " with ", num_groups, " groups");
  }
  const torch::Tensor z = detail::in_compute_type(x);
  const torch::Tensor scale =
      detail::per_channel(weight, z) * (detail::moments_over_groups(z, num_groups).var + eps).rsqrt();
  const torch::Tensor top = v.defined() ? z * ops::activation(z * detail::per_channel(v, z), Act::sigmoid) : z;
  return detail::in_form_of(x, at::addcmul(detail::per_channel(bias, z), top, scale));
}

torch::Tensor detail::evo_norm_b0_tracked(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                          const torch::Tensor& v, torch::Tensor running_var, bool training, double momentum,
                                          double eps) {
  const EvoNormB0Result r = evo_norm_b0(x, weight, bias, v, running_var, training, eps);
  const int64_t values = detail::values_per_channel(x);
  if (training && values > 1) {
    torch::NoGradGuard no_grad;
    const double unbias = static_cast<double>(values) / static_cast<double>(values - 1);
    running_var.lerp_((r.var * unbias).to(running_var.scalar_type()), momentum);
  }
  return r.y;
}

EvoNormB0Impl::EvoNormB0Impl(EvoNormB0Options given) : options(given) {
  check(options.num_features >= 1, "evo_norm", "num_features must be >= 1, got ", options.num_features);
  check(options.momentum >= 0 && options.momentum <= 1, "evo_norm", "momentum must be in [0, 1], got ", options.momentum);
  detail::check_eps_and_act("evo_norm", options.eps, Act::none);
  reset();
}

void EvoNormB0Impl::reset() {
  weight = register_parameter("weight", torch::ones({options.num_features}));
  bias = register_parameter("bias", torch::zeros({options.num_features}));
  if (options.nonlinear) v = register_parameter("v", torch::ones({options.num_features}));
  running_var = register_buffer("running_var", torch::ones({options.num_features}));
}

torch::Tensor EvoNormB0Impl::forward(const torch::Tensor& x) {
  return detail::evo_norm_b0_tracked(x, weight, bias, v, running_var, is_training(), options.momentum, options.eps);
}

void EvoNormB0Impl::pretty_print(std::ostream& stream) const {
  stream << "ballast::EvoNormB0(" << options.num_features << (options.nonlinear ? "" : ", linear") << ')';
}

EvoNormS0Impl::EvoNormS0Impl(EvoNormS0Options given) : options(given) {
  check(options.num_features >= 1, "evo_norm", "num_features must be >= 1, got ", options.num_features);
  check(options.num_groups >= 1 && options.num_features % options.num_groups == 0, "evo_norm",
        "num_groups must divide channels, got ", options.num_groups, " and ", options.num_features);
  detail::check_eps_and_act("evo_norm", options.eps, Act::none);
  reset();
}

void EvoNormS0Impl::reset() {
  weight = register_parameter("weight", torch::ones({options.num_features}));
  bias = register_parameter("bias", torch::zeros({options.num_features}));
  if (options.nonlinear) v = register_parameter("v", torch::ones({options.num_features}));
}

torch::Tensor EvoNormS0Impl::forward(const torch::Tensor& x) {
  return evo_norm_s0(x, weight, bias, v, options.num_groups, options.eps);
}

void EvoNormS0Impl::pretty_print(std::ostream& stream) const {
  stream << "ballast::EvoNormS0(" << options.num_features << ", " << options.num_groups << " groups"
         << (options.nonlinear ? "" : ", linear") << ')';
}

}  // namespace ballast
