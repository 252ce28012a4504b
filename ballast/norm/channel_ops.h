#pragma once

#include <torch/types.h>

#include <vector>

// What the norms that are composed of LibTorch's operators share. x: (N, C, positions...).

namespace ballast::detail {

/// bfloat16 or float16.
bool is_half(const torch::Tensor& x);
/// Half types as float32.
torch::Tensor in_compute_type(const torch::Tensor& x);
/// y with the dtype and memory format of x.
torch::Tensor in_form_of(const torch::Tensor& x, const torch::Tensor& y);
/// One value a channel, (C) -> (1, C, 1, ...), in x's dtype.
torch::Tensor per_channel(const torch::Tensor& t, const torch::Tensor& x);
/// 2, 3, ... of x.
std::vector<int64_t> position_dims(const torch::Tensor& x);
/// (N, C, 1, ...): mean of x^2 over the positions.
torch::Tensor mean_square_over_positions(const torch::Tensor& x);
/// (N, C, 1, ...): Euclidean norm over the positions; its gradient is 0 where it is 0.
torch::Tensor norm_over_positions(const torch::Tensor& x);

struct Moments {
  torch::Tensor mean, var;  ///< biased
};
/// (N, C, 1, ...): of the positions. Without positions each value is its own mean.
Moments moments_over_positions(const torch::Tensor& x);
/// (1, C, 1, ...): of all samples and positions.
Moments moments_over_batch(const torch::Tensor& x);
/// (N, C, 1, ...): of the positions of each group of C / groups channels. Works in every memory format without a copy.
Moments moments_over_groups(const torch::Tensor& x, int64_t groups);

}  // namespace ballast::detail
