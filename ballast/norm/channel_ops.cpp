#include <ballast/norm/channel_ops.h>

namespace ballast::detail {
namespace {

Moments moments(const torch::Tensor& x, at::IntArrayRef dims) {
  auto [var, mean] = at::var_mean(x, dims, /*unbiased=*/false, /*keepdim=*/true);
  return {mean, var};
}

}  // namespace

bool is_half(const torch::Tensor& x) {
  return x.scalar_type() == torch::kHalf || x.scalar_type() == torch::kBFloat16;
}

torch::Tensor in_compute_type(const torch::Tensor& x) { return is_half(x) ? x.to(torch::kFloat) : x; }

torch::Tensor in_form_of(const torch::Tensor& x, const torch::Tensor& y) {
  return y.to(x.scalar_type()).contiguous(x.suggest_memory_format());
}

torch::Tensor per_channel(const torch::Tensor& t, const torch::Tensor& x) {
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[1] = t.numel();
  return t.to(x.scalar_type()).reshape(shape);
}

std::vector<int64_t> position_dims(const torch::Tensor& x) {
  std::vector<int64_t> dims;
  for (int64_t d = 2; d < x.dim(); ++d) dims.push_back(d);
  return dims;
}

torch::Tensor mean_square_over_positions(const torch::Tensor& x) {
  const std::vector<int64_t> dims = position_dims(x);
  return dims.empty() ? x.square() : x.square().mean(dims, /*keepdim=*/true);
}

torch::Tensor norm_over_positions(const torch::Tensor& x) {
  const std::vector<int64_t> dims = position_dims(x);
  return dims.empty() ? x.abs() : at::linalg_vector_norm(x, 2, dims, /*keepdim=*/true);
}

Moments moments_over_positions(const torch::Tensor& x) {
  const std::vector<int64_t> dims = position_dims(x);
  return dims.empty() ? Moments{x, torch::zeros_like(x)} : moments(x, dims);
}

Moments moments_over_batch(const torch::Tensor& x) {
  std::vector<int64_t> dims = position_dims(x);
  dims.push_back(0);
  return moments(x, dims);
}

Moments moments_over_groups(const torch::Tensor& x, int64_t groups) {
  // Of each channel first, then of the channels' moments: all channels have equally many positions.
  const Moments channel = moments_over_positions(x);
  const int64_t per_group = x.size(1) / groups;
  const auto split = [&](const torch::Tensor& t) { return t.reshape({x.size(0), groups, per_group}); };
  const torch::Tensor means = split(channel.mean);
  const torch::Tensor mean = means.mean(2, /*keepdim=*/true);
  const torch::Tensor var = split(channel.var).mean(2, true) + (means - mean).square().mean(2, true);
  const auto spread = [&](const torch::Tensor& t) {
    return t.expand({x.size(0), groups, per_group}).reshape(channel.mean.sizes());
  };
  return {spread(mean), spread(var)};
}

}  // namespace ballast::detail
