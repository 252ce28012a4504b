#include <ballast/norm/norm.h>

#include <ostream>

#include <ballast/base/check.h>
#include <ballast/norm/activate.h>
#include <ballast/norm/group_norm.h>
#include <ballast/norm/instance_norm.h>
#include <ballast/norm/layer_norm.h>
#include <ballast/norm/layer_norm_2d.h>
#include <ballast/norm/norm_input.h>
#include <ballast/norm/rms_norm.h>
#include <ballast/norm/rms_norm_2d.h>

namespace ballast {
namespace {

bool has_bias(NormKind kind) { return kind != NormKind::rms && kind != NormKind::rms_2d; }

BatchNormOptions batch_options(const NormOptions& options, Act act) {
  return {.num_features = options.channels,
          .eps = options.eps,
          .momentum = options.momentum,
          .act = act,
          .act_a = options.act_a,
          .ghost = options.ghost,
          .single = options.single};
}

}  // namespace

NormImpl::NormImpl(NormOptions given) : options(given) {
  check(options.channels >= 1, "norm", "channels must be >= 1, got ", options.channels);
  check(options.eps > 0, "norm", "eps must be > 0, got ", options.eps);
  check(!options.momentum || (*options.momentum >= 0 && *options.momentum <= 1), "batch_norm",
        "momentum must be in [0, 1], got ", options.momentum.value_or(0));
  check(options.channel_dim == 1 || options.channel_dim == -1, "norm", "channel_dim must be 1 or -1, got ",
        options.channel_dim);
  if (options.kind == NormKind::group) {
    if (options.groups == 0) {
      for (int64_t g = 1; g <= 32; ++g) {
        if (options.channels % g == 0) options.groups = g;
      }
    }
    groups_of({.num_channels = options.channels, .num_groups = options.groups});
  }
  reset();
}

void NormImpl::reset() {
  if (options.kind == NormKind::none) return;
  weight = register_parameter("weight", torch::ones({options.channels}));
  if (has_bias(options.kind)) bias = register_parameter("bias", torch::zeros({options.channels}));
  if (options.kind == NormKind::batch) {
    running_mean = register_buffer("running_mean", torch::zeros({options.channels}));
    running_var = register_buffer("running_var", torch::ones({options.channels}));
    num_batches_tracked = register_buffer("num_batches_tracked", torch::zeros({}, torch::kLong));
  }
}

torch::Tensor NormImpl::normalize(const torch::Tensor& given, const torch::Tensor& residual, Act act) {
  if (given.dim() < 2 || given.size(options.channel_dim) != options.channels) {
    fail("norm", "x must have ", options.channels, " channels, got ", detail::shape_text(given));
  }
  const double eps = options.eps, a = options.act_a;
  const int64_t channels = options.channels;
  const bool tokens = options.channel_dim == -1 && given.dim() > 2;
  torch::Tensor x = given, add = residual;
  if (tokens) {
    // Instance norm is over the positions; the others take each token as a sample.
    const auto arrange = [&](const torch::Tensor& t) {
      if (!t.defined()) return t;
      return options.kind == NormKind::instance ? t.transpose(1, -1) : t.reshape({-1, channels});
    };
    x = arrange(given);
    add = arrange(residual);
  }
  torch::Tensor y;
  switch (options.kind) {
    case NormKind::none: return given;
    case NormKind::batch:
      y = batch_norm_tracked(x, add, weight, bias, {running_mean, running_var, num_batches_tracked}, is_training(),
                             batch_options(options, act));
      break;
    case NormKind::group:
      y = group_norm(x, weight, bias,
                     {.num_channels = channels, .num_groups = options.groups, .eps = eps, .act = act, .act_a = a});
      break;
    case NormKind::layer:
      y = x.dim() == 2 ? layer_norm(x, weight, bias, {.shape = {channels}, .eps = eps, .act = act, .act_a = a})
                       : group_norm(x, weight, bias,
                                    {.num_channels = channels, .num_groups = 1, .eps = eps, .act = act, .act_a = a});
      break;
    case NormKind::layer_2d:
      y = layer_norm_2d(x, weight, bias, {.num_channels = channels, .eps = eps, .act = act, .act_a = a});
      break;
    case NormKind::instance:
      y = instance_norm(x, weight, bias, {.num_features = channels, .eps = eps, .act = act, .act_a = a});
      break;
    case NormKind::rms:
      if (x.dim() == 2) {
        y = rms_norm(x, weight, {.shape = {channels}, .eps = eps, .act = act, .act_a = a});
      } else {
        std::vector<int64_t> by_channel(static_cast<size_t>(x.dim()), 1);
        by_channel[1] = channels;
        y = rms_norm(x, {}, {.shape = x.sizes().slice(1).vec(), .eps = eps}).mul_(weight.view(by_channel));
        y = activate(y.contiguous(x.suggest_memory_format()), act, a, true);
      }
      break;
    case NormKind::rms_2d:
      y = rms_norm_2d(x, weight, {.num_channels = channels, .eps = eps, .act = act, .act_a = a});
      break;
  }
  if (!tokens) return y;
  return options.kind == NormKind::instance ? y.transpose(1, -1).contiguous() : y.view(given.sizes());
}

bool NormImpl::may_overwrite(const torch::Tensor& x) const {
  // A norm's result is nobody's input yet, and its own gradient needs x instead. A leaf must stay as it is.
  return options.kind != NormKind::none || (options.overwrite_input && !(x.requires_grad() && x.is_leaf()));
}

torch::Tensor NormImpl::forward(const torch::Tensor& x) {
  if (options.kind != NormKind::none && detail::is_fused(options.act)) return normalize(x, {}, options.act);
  return activate(normalize(x, {}, Act::none), options.act, options.act_a, may_overwrite(x));
}

torch::Tensor NormImpl::forward_add(const torch::Tensor& x, const torch::Tensor& residual) {
  if (options.kind == NormKind::batch) {
    const bool fused = detail::is_fused(options.act) && options.act != Act::silu && options.act != Act::hardswish;
    const torch::Tensor y = normalize(x, residual, fused ? options.act : Act::none);
    return fused ? y : activate(y, options.act, options.act_a, true);
  }
  torch::Tensor y = normalize(x, {}, Act::none);
  y = may_overwrite(x) ? y.add_(residual) : y + residual;
  return activate(y, options.act, options.act_a, true);
}

void NormImpl::pretty_print(std::ostream& stream) const {
  stream << "ballast::Norm(" << kNorms[static_cast<size_t>(options.kind)].name;
  if (options.kind == NormKind::group) stream << ':' << options.groups;
  stream << ", " << options.channels;
  if (options.act != Act::none) stream << ", " << act_name(options.act);
  stream << ')';
}

}  // namespace ballast
