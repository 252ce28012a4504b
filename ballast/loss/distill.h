#pragma once

#include <torch/types.h>

#include <ballast/loss/reduction.h>

namespace ballast {

/// Options of distill.
struct DistillOptions {
  /// T > 0: both distributions are softened by it.
  double temperature = 4;
  Reduction reduction = Reduction::mean;
};

/// Knowledge distillation: how far a student is from what a teacher says, softened.
///
///   loss_n = T^2 KL(p_n, q_n),   p = softmax(teacher / T),  q = softmax(logits / T)
///
/// T^2 keeps the gradient's size whatever T is. The whole objective of a run is
/// a times this + (1 - a) times the loss of the labels.
///
/// Shape    logits, teacher: (N, K), floating point; teacher: logits or log-probabilities, it gets
///          no gradient. Result: a scalar, or (N) with reduction none.
/// Source   Hinton et al. 2015, arXiv:1503.02531.
/// Errors   std::invalid_argument `[distill] temperature must be > 0, got 0`;
///          `[distill] teacher must have the shape of logits, got [4, 10] and [4, 9]`.
torch::Tensor distill(const torch::Tensor& logits, const torch::Tensor& teacher,
                      const DistillOptions& options = {});

}  // namespace ballast
