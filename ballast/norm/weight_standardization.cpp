#include <ballast/norm/weight_standardization.h>

#include <cmath>
#include <ostream>

#include <torch/nn/modules/conv.h>

#include <ballast/base/check.h>
#include <ballast/base/gain.h>
#include <ballast/base/shape.h>
#include <ballast/norm/channel_ops.h>

namespace ballast {
namespace {

// w_hat times a factor for each filter, which is 1 if undefined.
torch::Tensor standardize(const torch::Tensor& w, const torch::Tensor& factor, double eps) {
  check(w.is_floating_point(), "weight_standardization", "w must be floating point, got ", w.scalar_type());
  check(w.dim() >= 2, "weight_standardization", "w must have at least 2 dimensions, got ", shape_text(w.sizes()));
  check(eps > 0, "weight_standardization", "eps must be > 0, got ", eps);
  const int64_t fan_in = w.size(0) == 0 ? 2 : w.numel() / w.size(0);
  check(fan_in > 1, "weight_standardization", "fan_in must be > 1, got ", fan_in);
  if (detail::is_half(w)) {
    return standardize(w.to(torch::kFloat), factor.defined() ? factor.to(torch::kFloat) : factor, eps).to(w.scalar_type());
  }
  const torch::Tensor rows = w.flatten(1);
  const auto [var, mean] = at::var_mean(rows, /*dim=*/{1}, /*unbiased=*/false, /*keepdim=*/true);
  torch::Tensor scale = (var + eps).rsqrt();
  if (factor.defined()) scale = scale * factor.reshape({-1, 1});
  return ((rows - mean) * scale).view(w.sizes());
}

torch::Tensor drawn(at::IntArrayRef shape, at::IntArrayRef weight_shape, Key key) {
  torch::Tensor t = torch::empty(shape);
  detail::draw_plain_start(t, weight_shape, key);
  return t;
}

void print(std::ostream& stream, const char* name, const Conv2dLayerOptions& o) {
  stream << "ballast::" << name << '(' << o.in_channels << ", " << o.out_channels << ", kernel " << o.kernel_size[0] << 'x'
         << o.kernel_size[1] << (o.bias ? "" : ", no bias") << ')';
}

std::shared_ptr<torch::nn::Conv2dImpl> plain(const Conv2dLayerOptions& o, const torch::Tensor& w, const torch::Tensor& b,
                                             bool training) {
  torch::NoGradGuard no_grad;
  auto layer = detail::plain_layer(o, w, b);
  layer->train(training);
  return layer;
}

}  // namespace

torch::Tensor weight_standardization(const torch::Tensor& w, double eps) {
  return standardize(w, {}, eps);
}

torch::Tensor scaled_weight_standardization(const torch::Tensor& w, const torch::Tensor& gain_c, Act act, double eps) {
  check(gain_c.numel() == (w.dim() ? w.size(0) : 1), "weight_standardization", "gain must have one value for each filter, got ",
        shape_text(gain_c.sizes()), " for ", shape_text(w.sizes()));
  const double fan_in = w.size(0) == 0 ? 1 : static_cast<double>(w.numel() / w.size(0));
  const double scale = gain(act, act_default_a(act), GainRule::variance) / std::sqrt(fan_in);
  return standardize(w, gain_c * scale, eps);
}

StdConv2dImpl::StdConv2dImpl(Conv2dLayerOptions layer, WeightStandardizationOptions rule)
    : options(layer), rule_options(rule) {
  reset();
}

void StdConv2dImpl::reset() {
  const std::vector<int64_t> shape = detail::weight_shape(options);
  weight = register_parameter("weight", drawn(shape, shape, options.key.fold_in("weight")));
  if (options.bias) bias = register_parameter("bias", drawn({shape[0]}, shape, options.key.fold_in("bias")));
  torch::NoGradGuard no_grad;
  effective_weight();  // for its errors
}

torch::Tensor StdConv2dImpl::effective_weight() const { return weight_standardization(weight, rule_options.eps); }

torch::Tensor StdConv2dImpl::forward(const torch::Tensor& x) { return detail::apply(options, x, effective_weight(), bias); }

std::shared_ptr<torch::nn::Conv2dImpl> StdConv2dImpl::remove() const {
  return plain(options, effective_weight(), bias, is_training());
}

void StdConv2dImpl::pretty_print(std::ostream& stream) const { print(stream, "StdConv2d", options); }

ScaledStdConv2dImpl::ScaledStdConv2dImpl(Conv2dLayerOptions layer, WeightStandardizationOptions rule)
    : options(layer), rule_options(rule) {
  reset();
}

void ScaledStdConv2dImpl::reset() {
  const std::vector<int64_t> shape = detail::weight_shape(options);
  weight = register_parameter("weight", drawn(shape, shape, options.key.fold_in("weight")));
  gain = register_parameter("gain", torch::ones({shape[0], 1, 1, 1}));
  if (options.bias) bias = register_parameter("bias", drawn({shape[0]}, shape, options.key.fold_in("bias")));
  torch::NoGradGuard no_grad;
  effective_weight();  // for its errors
}

torch::Tensor ScaledStdConv2dImpl::effective_weight() const {
  return scaled_weight_standardization(weight, gain, rule_options.act, rule_options.eps);
}

torch::Tensor ScaledStdConv2dImpl::forward(const torch::Tensor& x) {
  return detail::apply(options, x, effective_weight(), bias);
}

std::shared_ptr<torch::nn::Conv2dImpl> ScaledStdConv2dImpl::remove() const {
  return plain(options, effective_weight(), bias, is_training());
}

void ScaledStdConv2dImpl::pretty_print(std::ostream& stream) const { print(stream, "ScaledStdConv2d", options); }

}  // namespace ballast
