#include <ballast/norm/ops.h>

#include <ballast/norm/activate.h>

namespace ballast::detail {

std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> batch_norm_op(
    const torch::Tensor& x, const torch::Tensor& residual, const torch::Tensor& weight, const torch::Tensor& bias,
    const torch::Tensor& running_mean, const torch::Tensor& running_var, bool training, double eps, Fused fused) {
  if (x.numel() == 0) {
    const torch::Tensor none = torch::zeros({x.size(1)}, x.options().dtype(torch::kDouble));
    return {x.clone(), none, none};
  }
  torch::Tensor y, mean, invstd;
  std::tie(y, mean, invstd) = at::native_batch_norm(x, weight, bias, training ? torch::Tensor() : running_mean,
                                                    training ? torch::Tensor() : running_var, training, 0, eps);
  if (residual.defined()) y = y.add_(residual);
  y = activate(y, fused.act, fused.a, true);
  if (!training) return {y, running_mean.to(torch::kDouble), running_var.to(torch::kDouble)};
  y = y.contiguous(x.suggest_memory_format());
  return {y, mean.detach().to(torch::kDouble), (invstd.detach().to(torch::kDouble).pow(-2) - eps).clamp_min(0)};
}

std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> group_norm_op(
    const torch::Tensor& x, int64_t groups, const torch::Tensor& weight, const torch::Tensor& bias, double eps, Fused fused) {
  const torch::Tensor h = x.detach().reshape({x.size(0), groups, -1}).to(torch::kDouble);
  const torch::Tensor y = activate(at::group_norm(x, groups, weight, bias, eps), fused.act, fused.a, true);
  return {y.contiguous(x.suggest_memory_format()), h.mean(2), h.var(2, false)};
}

torch::Tensor layer_norm_op(const torch::Tensor& x, int64_t dims, const torch::Tensor& weight, const torch::Tensor& bias,
                            double eps, bool rms, Fused fused) {
  return composed_layer_norm(x, dims, weight, bias, eps, rms, fused);
}

torch::Tensor layer_norm_2d_op(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias, double eps,
                               bool rms, Fused fused) {
  return composed_layer_norm_2d(x, weight, bias, eps, rms, fused);
}

}  // namespace ballast::detail
