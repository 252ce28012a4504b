#pragma once

#include <cstddef>
#include <cstdint>

// Cross entropy of rows of scores with the log of their softmax, in one pass over each row. No torch. Bits do not depend
// on the SIMD target.

namespace ballast::loss_kernel {

/// What rows of `classes` scores are held against: probabilities where they are given, else classes, or two classes with
/// the share `lam` of the first.
template <class T>
struct Target {
  size_t classes = 0;
  const T* probabilities = nullptr;  ///< of each row, `classes` values
  const int64_t* a = nullptr;        ///< of each row, in [0, classes) or `ignored`
  const int64_t* b = nullptr;        ///< the second class, or null
  const T* lam = nullptr;            ///< with b
  size_t lam_stride = 0;             ///< 1, or 0: one share for all rows
  const T* weight = nullptr;         ///< of each class; null: 1
  double smoothing = 0;              ///< e: q' = (1 - e) q + e / classes
  int64_t ignored = -100;            ///< rows of this first class: loss 0, gradient 0
};

/// What a row leaves for the mean and the gradient: its greatest score, sum of exp(score - greatest),
/// sum_k w_k q'_k, and its share of the mean's divisor (probabilities: the sum of q).
inline constexpr size_t kRowStats = 4;

/// loss[n] = -sum_k w_k q'_k log softmax(x_n)_k, and kRowStats numbers of each row.
void cross_entropy(const float* x, size_t rows, const Target<float>& target, float* loss, float* stats);
void cross_entropy(const double* x, size_t rows, const Target<double>& target, double* loss, double* stats);

/// dx[n, k] = g_n (softmax(x_n)_k sum_j w_j q'_j - w_k q'_k), g_n = grad[n * grad_stride].
void cross_entropy_backward(const float* x, size_t rows, const Target<float>& target, const float* stats,
                            const float* grad, size_t grad_stride, float* dx);
void cross_entropy_backward(const double* x, size_t rows, const Target<double>& target, const double* stats,
                            const double* grad, size_t grad_stride, double* dx);

}  // namespace ballast::loss_kernel
