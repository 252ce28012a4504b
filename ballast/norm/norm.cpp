#include <ballast/norm/norm.h>

#include <ostream>

#include <ballast/base/check.h>
#include <ballast/norm/activate.h>

namespace ballast {
namespace {

std::string shape_text(const torch::Tensor& x) {
  std::ostringstream out;
  out << '(';
  for (int64_t i = 0; i < x.dim(); ++i) out << (i ? ", " : "") << x.size(i);
  out << ')';
  return out.str();
}

// Where an operator gave its result in another layout than x's.
torch::Tensor in_layout_of(const torch::Tensor& x, const torch::Tensor& y) {
  return y.contiguous(x.suggest_memory_format());
}

}  // namespace

NormImpl::NormImpl(NormOptions given) : options(given) {
  check(options.channels >= 1, "norm", "channels must be >= 1, got ", options.channels);
  check(options.eps > 0, "norm", "eps must be > 0, got ", options.eps);
  check(options.momentum >= 0 && options.momentum <= 1, "batch_norm", "momentum must be in [0, 1], got ",
        options.momentum);
  check(options.channel_dim == 1 || options.channel_dim == -1, "norm", "channel_dim must be 1 or -1, got ",
        options.channel_dim);
  if (options.kind == NormKind::group) {
    if (options.groups == 0) {
      for (int64_t g = 1; g <= 32; ++g) {
        if (options.channels % g == 0) options.groups = g;
      }
    }
    check(options.groups >= 1 && options.channels % options.groups == 0, "group_norm",
          "num_groups must divide channels, got ", options.groups, " and ", options.channels);
  }
  reset();
}

void NormImpl::reset() {
  if (options.kind == NormKind::none) return;
  weight = register_parameter("weight", torch::ones({options.channels}));
  bias = register_parameter("bias", torch::zeros({options.channels}));
  if (options.kind == NormKind::batch) {
    running_mean = register_buffer("running_mean", torch::zeros({options.channels}));
    running_var = register_buffer("running_var", torch::ones({options.channels}));
    num_batches_tracked = register_buffer("num_batches_tracked", torch::zeros({}, torch::kLong));
  }
}

torch::Tensor NormImpl::normalize(const torch::Tensor& given) {
  check(given.dim() >= 2 && given.size(options.channel_dim) == options.channels, "norm", "x must have ",
        options.channels, " channels, got ", shape_text(given));
  torch::Tensor x = given;
  const bool tokens = options.channel_dim == -1 && x.dim() > 2;
  if (tokens) {
    if (options.kind == NormKind::layer) return at::layer_norm(x, {options.channels}, weight, bias, options.eps);
    // Instance norm is over the positions; the others take each token as a sample.
    x = options.kind == NormKind::instance ? x.transpose(1, -1) : x.reshape({-1, options.channels});
  }
  const int64_t positions = x.size(0) == 0 ? 1 : x.numel() / (x.size(0) * options.channels);
  torch::Tensor y;
  switch (options.kind) {
    case NormKind::none: return given;
    case NormKind::batch: {
      const bool training = is_training();
      if (training) {
        if (x.numel() == 0) return x.clone().view_as(given);
        check(x.size(0) * positions > 1, "batch_norm", "x must have more than 1 value per channel in training, got ",
              shape_text(given));
        num_batches_tracked += 1;
      }
      y = at::batch_norm(x, weight, bias, running_mean, running_var, training, options.momentum, options.eps,
                         at::globalContext().userEnabledCuDNN());
      break;
    }
    case NormKind::group:
      check(options.channels / options.groups * positions > 1, "group_norm",
            "each group must hold more than 1 value, got ", shape_text(given), " with ", options.groups, " groups");
      y = at::group_norm(x, options.groups, weight, bias, options.eps);
      break;
    case NormKind::layer:
      y = x.dim() == 2 ? at::layer_norm(x, {options.channels}, weight, bias, options.eps)
                       : at::group_norm(x, 1, weight, bias, options.eps);
      break;
    case NormKind::instance:
      check(!is_training() || positions > 1, "instance_norm",
            "x must have more than 1 position in training, got ", shape_text(given));
      y = at::group_norm(x, options.channels, weight, bias, options.eps);
      break;
  }
  if (tokens) return options.kind == NormKind::instance ? y.transpose(1, -1).contiguous() : y.view(given.sizes());
  return in_layout_of(given, y);
}

bool NormImpl::may_overwrite(const torch::Tensor& x) const {
  // A norm's result is nobody's input yet, and its own gradient needs x instead. A leaf must stay as it is.
  return options.kind != NormKind::none || (options.overwrite_input && !(x.requires_grad() && x.is_leaf()));
}

torch::Tensor NormImpl::forward(const torch::Tensor& x) {
  return activate(normalize(x), options.act, options.act_a, may_overwrite(x));
}

torch::Tensor NormImpl::forward_add(const torch::Tensor& x, const torch::Tensor& residual) {
  torch::Tensor y = normalize(x);
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
