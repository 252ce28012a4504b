#pragma once

#include <torch/types.h>

#include <string>
#include <string_view>

#include <ballast/base/act.h>

// What the norms ask of their input in the same words.

namespace ballast::detail {

std::string shape_text(const torch::Tensor& x);

/// Of x (N, C, positions...): N times the positions; 0 of an empty tensor.
int64_t values_per_channel(const torch::Tensor& x);

/// `[stem] x must be floating point, got Long`, `[stem] x must have at least 2 dimensions, got (8)`,
/// `[stem] x must have 64 channels, got (8, 32, 4, 4)`.
void check_channels(std::string_view stem, const torch::Tensor& x, int64_t channels);

/// `[stem] x must be floating point, got Long`, `[stem] the last dimensions of x must be (64), got (8, 32)`.
void check_last(std::string_view stem, const torch::Tensor& x, at::IntArrayRef shape);

/// `[stem] eps must be > 0, got 0`, `[stem] act must be one of none, relu, relu6, leaky_relu, silu, hardswish, got gelu`.
void check_eps_and_act(std::string_view stem, double eps, Act act);

/// Whether a norm computes `act` with its own result.
bool is_fused(Act act);

/// `[stem] weight must have the shape (64), got (32)`; undefined is right too.
void check_parameter(std::string_view stem, std::string_view name, const torch::Tensor& t, at::IntArrayRef shape);

}  // namespace ballast::detail
