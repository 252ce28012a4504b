#include <ballast/norm/instance_norm.h>

#include <ostream>

#include <ballast/base/check.h>
#include <ballast/norm/batch_norm.h>
#include <ballast/norm/channel_state.h>
#include <ballast/norm/norm_input.h>
#include <ballast/norm/ops.h>

namespace ballast {
namespace {

// y, and mean and var of each (sample, channel).
std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> run(const torch::Tensor& x, const torch::Tensor& weight,
                                                            const torch::Tensor& bias,
                                                            const InstanceNormOptions& options) {
  const int64_t channels = options.num_features;
  detail::check_eps_and_act("instance_norm", options.eps, options.act);
  detail::check_channels("instance_norm", x, channels);
  detail::check_parameter("instance_norm", "weight", weight, {channels});
  detail::check_parameter("instance_norm", "bias", bias, {channels});
  if (x.numel() > 0 && x.numel() == x.size(0) * channels) {
    fail("instance_norm", "x must have more than 1 position in training, got ", detail::shape_text(x));
  }
  return detail::group_norm_op(x, channels, weight, bias, options.eps, {options.act, options.act_a});
}

}  // namespace

torch::Tensor instance_norm(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                            const InstanceNormOptions& options) {
  return std::get<0>(run(x, weight, bias, options));
}

InstanceNormImpl::InstanceNormImpl(InstanceNormOptions given) : options(given) {
  check(options.num_features >= 1, "instance_norm", "num_features must be >= 1, got ", options.num_features);
  check(!options.momentum || (*options.momentum >= 0 && *options.momentum <= 1), "instance_norm",
        "momentum must be in [0, 1], got ", options.momentum.value_or(0));
  detail::check_eps_and_act("instance_norm", options.eps, options.act);
  reset();
}

void InstanceNormImpl::reset() { detail::register_channel_state(*this, options); }

torch::Tensor InstanceNormImpl::forward(const torch::Tensor& x) {
  if (options.track_running_stats && !is_training()) {
    const BatchNormOptions as_batch{
        .num_features = options.num_features, .eps = options.eps, .act = options.act, .act_a = options.act_a};
    return batch_norm(x, weight, bias, running_mean, running_var, false, as_batch).y;
  }
  const auto [y, mean, var] = run(x, weight, bias, options);
  if (options.track_running_stats && x.numel() > 0) {
    torch::NoGradGuard no_grad;
    num_batches_tracked.add_(1);
    const double positions = static_cast<double>(x.numel() / (x.size(0) * x.size(1)));
    const double share = options.momentum ? *options.momentum : 1 / num_batches_tracked.item().to<double>();
    const auto move = [&](torch::Tensor& running, const torch::Tensor& stat) {
      running.add_((stat - running).mul_(share).to(running.scalar_type()));
    };
    move(running_mean, mean.mean(0));
    move(running_var, var.mean(0) * (positions / (positions - 1)));
  }
  return y;
}

void InstanceNormImpl::pretty_print(std::ostream& stream) const {
  stream << "ballast::InstanceNorm(" << options.num_features;
  if (options.act != Act::none) stream << ", " << act_name(options.act);
  stream << ')';
}

}  // namespace ballast
