#include <ballast/norm/norm.h>

#include <ostream>

#include <ballast/base/check.h>
#include <ballast/norm/activate.h>
#include <ballast/norm/channel_ops.h>
#include <ballast/norm/evo_norm.h>
#include <ballast/norm/filter_response_norm.h>
#include <ballast/norm/frozen_batch_norm.h>
#include <ballast/norm/group_norm.h>
#include <ballast/norm/instance_norm.h>
#include <ballast/norm/layer_norm.h>
#include <ballast/norm/layer_norm_2d.h>
#include <ballast/norm/moment_observer.h>
#include <ballast/norm/norm_input.h>
#include <ballast/norm/rms_norm.h>
#include <ballast/norm/rms_norm_2d.h>
#include <ballast/norm/split_batch_norm.h>

namespace ballast {
namespace {

// With mean and variance that are stored.
bool has_statistics(NormKind kind) {
  return kind == NormKind::batch || kind == NormKind::sync || kind == NormKind::split || kind == NormKind::frozen;
}

bool has_activation_of_its_own(NormKind kind) {
  return kind == NormKind::frn || kind == NormKind::evo_b0 || kind == NormKind::evo_s0;
}

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

NormImpl::NormImpl(NormOptions given) : NormImpl(given, [](const char*, const torch::Tensor& fresh) { return fresh; }) {}

NormImpl::NormImpl(NormOptions given, const Adopt& adopt) : options(given) {
  check(options.channels >= 1, "norm", "channels must be >= 1, got ", options.channels);
  check(options.eps > 0, "norm", "eps must be > 0, got ", options.eps);
  check(!options.momentum || (*options.momentum >= 0 && *options.momentum <= 1), "batch_norm",
        "momentum must be in [0, 1], got ", options.momentum.value_or(0));
  check(options.channel_dim == 1 || options.channel_dim == -1, "norm", "channel_dim must be 1 or -1, got ",
        options.channel_dim);
  check(options.splits >= 2, "split_batch_norm", "num_splits must be >= 2, got ", options.splits);
  if (options.kind == NormKind::evo_b0) {
    check(options.momentum.has_value(), "evo_norm", "momentum must be in [0, 1], got none");
  }
  if (options.kind == NormKind::group || options.kind == NormKind::evo_s0) {
    if (options.groups == 0) {
      for (int64_t g = 1; g <= 32; ++g) {
        if (options.channels % g == 0) options.groups = g;
      }
    }
    if (options.kind == NormKind::group) groups_of({.num_channels = options.channels, .num_groups = options.groups});
  }
  register_all(adopt);
}

void NormImpl::reset() {
  register_all([](const char*, const torch::Tensor& fresh) { return fresh; });
}

void NormImpl::register_all(const Adopt& adopt) {
  weight = bias = running_mean = running_var = num_batches_tracked = tau = v = torch::Tensor();
  if (options.kind == NormKind::none) return;
  const bool frozen = options.kind == NormKind::frozen;
  const auto value = [&](const char* name, double x) { return adopt(name, torch::full({options.channels}, x)); };
  const auto parameter = [&](const char* name, double x) { return register_parameter(name, value(name, x)); };
  const auto buffer = [&](const char* name, double x) {
    return register_buffer(name, value(name, x).set_requires_grad(false));
  };
  weight = frozen ? buffer("weight", 1) : parameter("weight", 1);
  if (has_bias(options.kind)) bias = frozen ? buffer("bias", 0) : parameter("bias", 0);
  if (has_statistics(options.kind)) {
    running_mean = buffer("running_mean", 0);
    running_var = buffer("running_var", 1);
    if (!frozen) {
      num_batches_tracked =
          register_buffer("num_batches_tracked", adopt("num_batches_tracked", torch::zeros({}, torch::kLong)));
    }
  }
  if (options.kind == NormKind::split) {
    register_module("aux_bn", std::make_shared<detail::BatchNormList>(batch_options(options, Act::none), options.splits - 1));
  }
  if (has_activation_of_its_own(options.kind) && options.act != Act::none) {
    (options.kind == NormKind::frn ? tau : v) =
        options.kind == NormKind::frn ? parameter("tau", 0) : parameter("v", 1);
  }
  if (options.kind == NormKind::evo_b0) running_var = buffer("running_var", 1);
}

void NormImpl::become(const NormOptions& to, const std::map<std::string, torch::Tensor>& tensors) {
  check(to.channels == options.channels, "norm", "channels must stay ", options.channels, ", got ", to.channels);
  torch::NoGradGuard no_grad;
  std::map<std::string, torch::Tensor> known = tensors;
  for (const auto& p : named_parameters()) known.emplace(p.key(), p.value());
  for (const auto& b : named_buffers()) known.emplace(b.key(), b.value());
  const auto in_form = [&](const torch::Tensor& fresh) {
    for (const auto& [name, t] : known) {
      if (t.is_floating_point() == fresh.is_floating_point()) return fresh.to(t.device(), t.scalar_type());
    }
    return fresh;
  };
  // The very tensors go into the new norm, so that an optimizer keeps its parameters.
  NormImpl made(to, [&](const char* name, const torch::Tensor& fresh) {
    const auto found = known.find(name);
    return found == known.end() ? in_form(fresh) : found->second;
  });
  for (const auto& child : made.named_children()) {
    const auto fill = [&](const std::string& name, torch::Tensor value) {
      const std::string leaf = name.substr(name.rfind('.') + 1);
      const auto own = known.find(child.key() + '.' + name), main = known.find(leaf);
      value.set_data(in_form(value));
      if (own != known.end() || main != known.end()) value.copy_(own != known.end() ? own->second : main->second);
    };
    for (const auto& p : child.value()->named_parameters()) fill(p.key(), p.value());
    for (const auto& b : child.value()->named_buffers()) fill(b.key(), b.value());
  }
  made.train(is_training());
  made.gather = gather;
  *this = made;
}

torch::Tensor NormImpl::split(const torch::Tensor& x, Act act) {
  const BatchNormOptions norm = batch_options(options, act);
  const auto main = [&](const torch::Tensor& part) {
    return batch_norm_tracked(part, {}, weight, bias, {running_mean, running_var, num_batches_tracked}, is_training(), norm);
  };
  if (!is_training()) return main(x);
  const auto aux = std::dynamic_pointer_cast<detail::BatchNormList>(named_children()["aux_bn"]);
  return split_batch_norm(x, options.splits, [&](const torch::Tensor& part, int64_t j) {
    if (j == 0) return main(part);
    const BatchNormImpl& own = *aux->at(j - 1);
    return batch_norm_tracked(part, {}, own.weight, own.bias, {own.running_mean, own.running_var, own.num_batches_tracked},
                              true, norm);
  });
}

// `scale` is of batch norm.
torch::Tensor NormImpl::normalize(const torch::Tensor& given, const torch::Tensor& residual, Act act, double scale) {
  if (given.dim() < 2 || given.size(options.channel_dim) != options.channels) {
    fail("norm", "x must have ", options.channels, " channels, got ", detail::shape_text(given));
  }
  const detail::NormCall call(this, given);
  const double eps = options.eps, a = options.act_a;
  const int64_t channels = options.channels;
  const bool tokens = options.channel_dim == -1 && given.dim() > 2;
  const bool over_positions =
      options.kind == NormKind::instance || options.kind == NormKind::frn || options.kind == NormKind::evo_b0;
  torch::Tensor x = given, add = residual;
  if (tokens) {
    // These are over the positions; the others take each token as a sample.
    const auto arrange = [&](const torch::Tensor& t) {
      if (!t.defined()) return t;
      return over_positions ? t.transpose(1, -1) : t.reshape({-1, channels});
    };
    x = arrange(given);
    add = arrange(residual);
  }
  torch::Tensor y;
  switch (options.kind) {
    case NormKind::none: return given;
    case NormKind::batch: {
      torch::Tensor gamma = weight, beta = bias;
      if (scale != 1) {
        gamma = gamma.defined() ? gamma * scale : at::full({channels}, scale, running_mean.options());
        beta = beta.defined() ? beta * scale : beta;
      }
      y = batch_norm_tracked(x, add, gamma, beta, {running_mean, running_var, num_batches_tracked}, is_training(),
                             batch_options(options, act));
      break;
    }
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
    case NormKind::frozen:
      y = frozen_batch_norm(x, weight, bias, running_mean, running_var,
                            {.num_features = channels, .eps = eps, .act = act, .act_a = a});
      break;
    case NormKind::sync:
      y = sync_batch_norm_tracked(x, weight, bias, {running_mean, running_var, num_batches_tracked}, is_training(),
                                  gather.get(), batch_options(options, act));
      break;
    case NormKind::split:
      y = split(x, act);
      break;
    case NormKind::frn:
      y = filter_response_norm(x, weight, bias, act == Act::none ? torch::Tensor() : tau, {}, eps);
      break;
    case NormKind::evo_b0:
      y = detail::evo_norm_b0_tracked(x, weight, bias, v, running_var, is_training(), options.momentum.value_or(0), eps);
      break;
    case NormKind::evo_s0:
      y = evo_norm_s0(x, weight, bias, v, options.groups, eps);
      break;
    case NormKind::rms_2d:
      y = rms_norm_2d(x, weight, {.num_channels = channels, .eps = eps, .act = act, .act_a = a});
      break;
  }
  if (!tokens) return y;
  return over_positions ? y.transpose(1, -1).contiguous() : y.view(given.sizes());
}

bool NormImpl::may_overwrite(const torch::Tensor& x) const {
  // A norm's result is nobody's input yet, and its own gradient needs x instead. A leaf must stay as it is.
  return options.kind != NormKind::none || (options.overwrite_input && !(x.requires_grad() && x.is_leaf()));
}

torch::Tensor NormImpl::forward(const torch::Tensor& x) {
  if (has_activation_of_its_own(options.kind)) return normalize(x, {}, options.act);
  if (options.kind != NormKind::none && detail::is_fused(options.act)) return normalize(x, {}, options.act);
  return activate(normalize(x, {}, Act::none), options.act, options.act_a, may_overwrite(x));
}

torch::Tensor NormImpl::forward_add(const torch::Tensor& x, const torch::Tensor& residual, double scale) {
  if (options.kind == NormKind::batch) {
    const bool fused = detail::is_fused(options.act) && options.act != Act::silu && options.act != Act::hardswish;
    const torch::Tensor y = normalize(x, residual, fused ? options.act : Act::none, scale);
    return fused ? y : activate(y, options.act, options.act_a, true);
  }
  const torch::Tensor y = forward_branch(x);
  if (scale != 1) return activate_sum(at::add(residual, y, scale), true);
  return activate_sum(may_overwrite(x) ? y.add_(residual) : y + residual, true);
}

bool NormImpl::activation_is_idempotent() const {
  return options.act == Act::none || (options.act == Act::relu && !has_activation_of_its_own(options.kind));
}

torch::Tensor NormImpl::forward_branch(const torch::Tensor& x) {
  const bool evo = options.kind == NormKind::evo_b0 || options.kind == NormKind::evo_s0;
  return normalize(x, {}, evo ? options.act : Act::none);
}

torch::Tensor NormImpl::activate_sum(const torch::Tensor& y, bool overwrite) {
  if (!has_activation_of_its_own(options.kind)) return activate(y, options.act, options.act_a, overwrite);
  if (!tau.defined()) return y;
  const torch::Tensor threshold = detail::per_channel(tau, y);
  return at::where(y > threshold, y, threshold);
}

void NormImpl::pretty_print(std::ostream& stream) const {
  stream << "ballast::Norm(" << norm_name(options.kind);
  if (options.kind == NormKind::split) stream << ':' << options.splits;
  if (options.kind == NormKind::group || options.kind == NormKind::evo_s0) stream << ':' << options.groups;
  stream << ", " << options.channels;
  if (options.act != Act::none) stream << ", " << act_name(options.act);
  stream << ')';
}

}  // namespace ballast
