#pragma once

#include <cstddef>

// Updates of one chunk of a parameter; plain pointers, no torch. Each element's arithmetic is the same on every SIMD
// target and at every position (no fused multiply-add), so results do not depend on chunks, threads or the machine.

namespace ballast {

/// Of one SGD step, for one parameter group.
struct SgdStep {
  float lr = 0, momentum = 0, weight_decay = 0;
  bool nesterov = false;
  bool first = false;  ///< v is not set yet: v = g
};

/// Of one Adam or AdamW step, for one parameter group.
struct AdamStep {
  float beta2 = 0;
  float rest1 = 0, rest2 = 0; ///< 1 - beta1, 1 - beta2, subtracted in double
  float eps = 0;
  float step_size = 0;        ///< lr / (1 - beta1^t)
  float root_bc2 = 0;         ///< sqrt(1 - beta2^t)
  float weight_decay = 0;     ///< added to the gradient (Adam)
  float shrink = 1;           ///< w *= shrink before all else (AdamW: 1 - lr * weight decay)
};

/// g' = scale * g + wd * w;  v = momentum * v + g' (first: v = g');  w -= lr * (nesterov ? g' + momentum * v : v).
/// momentum 0: v is not touched and may be null.
void sgd_update(float* w, const float* g, float* v, size_t n, const SgdStep& step, float scale);
void sgd_update_reference(float* w, const float* g, float* v, size_t n, const SgdStep& step, float scale);

/// w *= shrink; g' = scale * g + wd * w;  m += (1 - b1)(g' - m);  v = b2 * v + (1 - b2) g'^2;
/// w -= step_size * m / (sqrt(v) / root_bc2 + eps).
void adam_update(float* w, const float* g, float* m, float* v, size_t n, const AdamStep& step, float scale);
void adam_update_reference(float* w, const float* g, float* m, float* v, size_t n, const AdamStep& step, float scale);

/// Sum of squares in double; 8 fixed lanes, so that the bits are the same on every target. Not finite if any g is not.
double sum_squares(const float* g, size_t n);
double sum_squares_reference(const float* g, size_t n);

/// g = min(max(g, -c), c). NaN stays.
void clamp_abs(float* g, size_t n, float c);

}  // namespace ballast
