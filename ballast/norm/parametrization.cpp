#include <ballast/norm/parametrization.h>

#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include <cmath>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/norm/without_drawing.h>
#include <ballast/ops/conv2d.h>
#include <ballast/ops/linear.h>

namespace ballast::detail {
namespace {

template <class Options>
void check_channels(const Options& o) {
  check(o.in_channels >= 1 && o.out_channels >= 1, "parametrization", "in_channels and out_channels must be >= 1, got ",
        o.in_channels, " and ", o.out_channels);
  check(o.groups >= 1 && o.in_channels % o.groups == 0 && o.out_channels % o.groups == 0, "parametrization",
        "groups must divide in_channels and out_channels, got ", o.groups, ", ", o.in_channels, " and ", o.out_channels);
}

torch::ExpandingArray<2> pair_of(const std::array<int64_t, 2>& a) { return {{a[0], a[1]}}; }

template <class Layer>
std::shared_ptr<Layer> with_values(std::shared_ptr<Layer> layer, const torch::Tensor& w, const torch::Tensor& b) {
  layer->weight.set_data(w.detach().clone());
  if (b.defined()) layer->bias.set_data(b.detach().clone());
  return layer;
}

}  // namespace

std::vector<int64_t> weight_shape(const Conv2dLayerOptions& o) {
  check_channels(o);
  return {o.out_channels, o.in_channels / o.groups, o.kernel_size[0], o.kernel_size[1]};
}

std::vector<int64_t> weight_shape(const ConvTranspose2dLayerOptions& o) {
  check_channels(o);
  return {o.in_channels, o.out_channels / o.groups, o.kernel_size[0], o.kernel_size[1]};
}

std::vector<int64_t> weight_shape(const LinearLayerOptions& o) {
  check(o.in_features >= 1 && o.out_features >= 1, "parametrization", "in_features and out_features must be >= 1, got ",
        o.in_features, " and ", o.out_features);
  return {o.out_features, o.in_features};
}

torch::Tensor apply(const Conv2dLayerOptions& o, const torch::Tensor& x, const torch::Tensor& w, const torch::Tensor& b) {
  return ops::conv2d(x, w, b, o.stride, o.padding, o.dilation, o.groups);
}

torch::Tensor apply(const ConvTranspose2dLayerOptions& o, const torch::Tensor& x, const torch::Tensor& w,
                    const torch::Tensor& b) {
  return at::conv_transpose2d(x, w, b, o.stride, o.padding, o.output_padding, o.groups, o.dilation);
}

torch::Tensor apply(const LinearLayerOptions&, const torch::Tensor& x, const torch::Tensor& w, const torch::Tensor& b) {
  return ops::linear(x, w, b);
}

std::shared_ptr<torch::nn::Conv2dImpl> plain_layer(const Conv2dLayerOptions& o, const torch::Tensor& w,
                                                   const torch::Tensor& b) {
  const auto options = torch::nn::Conv2dOptions(o.in_channels, o.out_channels, pair_of(o.kernel_size))
                           .stride(pair_of(o.stride))
                           .padding(pair_of(o.padding))
                           .dilation(pair_of(o.dilation))
                           .groups(o.groups)
                           .bias(o.bias);
  return with_values(without_drawing([&] { return std::make_shared<torch::nn::Conv2dImpl>(options); }), w, b);
}

std::shared_ptr<torch::nn::ConvTranspose2dImpl> plain_layer(const ConvTranspose2dLayerOptions& o, const torch::Tensor& w,
                                                            const torch::Tensor& b) {
  const auto options = torch::nn::ConvTranspose2dOptions(o.in_channels, o.out_channels, pair_of(o.kernel_size))
                           .stride(pair_of(o.stride))
                           .padding(pair_of(o.padding))
                           .output_padding(pair_of(o.output_padding))
                           .dilation(pair_of(o.dilation))
                           .groups(o.groups)
                           .bias(o.bias);
  return with_values(without_drawing([&] { return std::make_shared<torch::nn::ConvTranspose2dImpl>(options); }), w, b);
}

std::shared_ptr<torch::nn::LinearImpl> plain_layer(const LinearLayerOptions& o, const torch::Tensor& w,
                                                   const torch::Tensor& b) {
  const auto options = torch::nn::LinearOptions(o.in_features, o.out_features).bias(o.bias);
  return with_values(without_drawing([&] { return std::make_shared<torch::nn::LinearImpl>(options); }), w, b);
}

int64_t outputs_of(const Conv2dLayerOptions& o) { return o.out_channels; }
int64_t outputs_of(const ConvTranspose2dLayerOptions& o) { return o.out_channels; }
int64_t outputs_of(const LinearLayerOptions& o) { return o.out_features; }

void draw_plain_start(const torch::Tensor& t, at::IntArrayRef weight_shape, Key key) {
  int64_t fan_in = 1;
  for (int64_t size : weight_shape.slice(1)) fan_in *= size;
  const double bound = 1 / std::sqrt(static_cast<double>(std::max<int64_t>(1, fan_in)));
  std::vector<double> values(static_cast<size_t>(t.numel()));
  fill_uniform(key, 0, values);
  for (double& v : values) v = (2 * v - 1) * bound;
  torch::NoGradGuard no_grad;
  t.copy_(torch::from_blob(values.data(), t.sizes(), torch::kDouble));
}

}  // namespace ballast::detail
