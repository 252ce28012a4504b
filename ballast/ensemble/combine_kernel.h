#pragma once

#include <cstddef>

namespace ballast {

// Kernels of combine: plain pointers and sizes. All give the same bits on every target and for every way of cutting the
// rows, since each row's operations have one order; exp is a polynomial of its own (relative error below 2e-7).

/// acc[i] += sum_m w[m] z[m][i], the members added in groups of four: ((w0 z0 + w1 z1) + (w2 z2 + w3 z3)).
void add_weighted(const float* const* z, const float* w, size_t members, float* acc, size_t n);
void add_weighted_reference(const float* const* z, const float* w, size_t members, float* acc, size_t n);

/// acc[c * stride + r] += w * softmax(inv_t * z[r])[c] for r in [0, rows): classes outermost. `scratch`: 16 * k floats.
/// Returns whether all scores were finite (acc is meaningless if not).
bool add_softmax(const float* z, size_t rows, size_t k, float inv_t, float w, float* acc, size_t stride, float* scratch);
bool add_softmax_reference(const float* z, size_t rows, size_t k, float inv_t, float w, float* acc, size_t stride,
                           float* scratch);

/// e^x for x <= 0, the one above; 0 below -87.3.
float exp_negative_reference(float x);

}  // namespace ballast
