#include <ballast/norm/composed.h>

#include <ballast/norm/activate.h>

namespace ballast::detail {
namespace {

torch::Tensor wide(const torch::Tensor& x) {
  return x.defined() && (x.scalar_type() == torch::kBFloat16 || x.scalar_type() == torch::kHalf) ? x.to(torch::kFloat) : x;
}

// A parameter in the type that x is computed in, with `shape` for broadcasting.
torch::Tensor parameter(const torch::Tensor& t, const torch::Tensor& x, at::IntArrayRef shape) {
  return t.defined() ? t.to(x.scalar_type()).view(shape) : t;
}

torch::Tensor finish(const torch::Tensor& x, torch::Tensor y, const torch::Tensor& weight, const torch::Tensor& bias,
                     const torch::Tensor& residual, Fused fused) {
  if (weight.defined()) y = y * weight;
  if (bias.defined()) y = y + bias;
  if (residual.defined()) y = y + wide(residual);
  return activate(y, fused.act, fused.a).to(x.scalar_type());
}

std::vector<int64_t> channel_shape(const torch::Tensor& x) {
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[1] = x.size(1);
  return shape;
}

torch::Tensor standardized(const torch::Tensor& x, at::IntArrayRef dims, double eps, bool rms) {
  const torch::Tensor d = rms ? x : x - x.mean(dims, true);
  return d * (d.square().mean(dims, true) + eps).rsqrt();
}

}  // namespace

torch::Tensor composed_batch_norm(const torch::Tensor& x, const torch::Tensor& residual, const torch::Tensor& weight,
                                  const torch::Tensor& bias, const torch::Tensor& mean, const torch::Tensor& var,
                                  bool training, double eps, Fused fused) {
  const torch::Tensor h = wide(x);
  const std::vector<int64_t> shape = channel_shape(x);
  torch::Tensor y;
  if (training) {
    std::vector<int64_t> dims = {0};
    for (int64_t d = 2; d < x.dim(); ++d) dims.push_back(d);
    y = standardized(h, dims, eps, false);
  } else {
    y = (h - parameter(mean, h, shape)) * parameter((var.to(torch::kDouble) + eps).rsqrt(), h, shape);
  }
  return finish(x, y, parameter(weight, h, shape), parameter(bias, h, shape), residual, fused);
}

torch::Tensor composed_group_norm(const torch::Tensor& x, int64_t groups, const torch::Tensor& weight,
                                  const torch::Tensor& bias, double eps, Fused fused) {
  const torch::Tensor h = wide(x);
  const std::vector<int64_t> shape = channel_shape(x);
  const torch::Tensor y = standardized(h.reshape({x.size(0), groups, x.numel() / (x.size(0) * groups)}), {2}, eps, false)
                              .reshape(x.sizes());
  return finish(x, y, parameter(weight, h, shape), parameter(bias, h, shape), {}, fused);
}

torch::Tensor composed_layer_norm(const torch::Tensor& x, int64_t dims, const torch::Tensor& weight,
                                  const torch::Tensor& bias, double eps, bool rms, Fused fused) {
  const torch::Tensor h = wide(x);
  std::vector<int64_t> over;
  for (int64_t d = x.dim() - dims; d < x.dim(); ++d) over.push_back(d);
  const torch::Tensor y = standardized(h, over, eps, rms);
  const at::IntArrayRef shape = x.sizes().slice(static_cast<size_t>(x.dim() - dims));
  return finish(x, y, parameter(weight, h, shape), parameter(bias, h, shape), {}, fused);
}

torch::Tensor composed_layer_norm_2d(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                     double eps, bool rms, Fused fused) {
  const torch::Tensor h = wide(x);
  const std::vector<int64_t> shape = channel_shape(x);
  return finish(x, standardized(h, {1}, eps, rms), parameter(weight, h, shape), parameter(bias, h, shape), {}, fused);
}

}  // namespace ballast::detail
