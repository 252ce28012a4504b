#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace ballast {

/// How much larger the variance at a norm is in training than in evaluation where dropout of probability p stands before
/// it: 1/(1 - p) + (mean^2 / var) p/(1 - p), of a signal with this mean and variance. 1.11, 1.43, 2 for p 0.1, 0.3, 0.5
/// and mean 0.
///
/// Source   Li et al. 2018, arXiv:1801.05134.
/// Errors   std::invalid_argument `[drop_order] p must be in [0, 1), got 1`, `[drop_order] var must be > 0, got 0`.
double variance_shift(double p, double mean, double var);

/// A dropout that feeds a batch norm.
struct DropOrderRow {
  std::string drop, norm;  ///< names of the layers
  double p = 0;
  double predicted = 0;    ///< variance_shift of what goes into the dropout
  double measured = 0;     ///< variance at the norm with dropout over that without
  std::string text;        ///< the warning
};

/// Finds dropout whose masks shift the variance that a batch norm behind it learns: in training it sees more variance
/// than in evaluation, where its running statistics are then too large. Dropout stands behind the last batch norm;
/// elsewhere use drop_path, or norms without a batch (which are silent here).
///
///   [dropout] layer2.0.drop (p 0.5) feeds layer2.0.bn2: variance in training 2 x that in eval; move it behind the last
///   batch norm or use drop_path
///
/// Sees      dropout, spatial and feature dropout through activations, convolutions, linear layers, pooling and sums; not
///           alpha_dropout, which keeps the variance, nor drop_path.
/// Cost      two forward passes of x, (N, ...), N >= 2; none if the model has no drops or no batch norm.
/// Leaves    buffers, training flags and LibTorch's CPU generator as they were, also after a throw.
std::vector<DropOrderRow> drop_order(torch::nn::Module& module,
                                     const std::function<torch::Tensor(const torch::Tensor&)>& forward,
                                     const torch::Tensor& x);

}  // namespace ballast
