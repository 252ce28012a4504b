#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

namespace ballast::ops {

/// One recurrent layer over x (N, steps, in), in pieces of the rows, each on one thread, whose gradients of the weights are
/// added in order: the same bits for any number of threads.
/// cell: lstm, gru, rnn_tanh or rnn_relu, LibTorch's operators; start (1, N, width): the hidden state before the first step, and
/// of lstm the cell's, without a gradient; weights: w_ih, w_hh, b_ih, b_hh.
///
/// Result   the hidden states (N, steps, width), the last one (1, N, width), of lstm the cell's last one.
///
/// Autocast, observers, other devices, gradients of gradients: as LibTorch's operators.
std::vector<torch::Tensor> recurrent(const std::string& cell, const torch::Tensor& x, const torch::Tensor& start,
                                     const std::vector<torch::Tensor>& weights, bool training);

}  // namespace ballast::ops
