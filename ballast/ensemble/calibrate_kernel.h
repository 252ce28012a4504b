#pragma once

#include <cstddef>

namespace ballast {

/// Rows in blocks of 16, a lane each: d[(block * k + c) * 16 + lane] = score of class c less the row's highest, <= 0.
/// For each row (16 a block): s0 = sum_c e^(b d), s1 = sum_c d e^(b d), s2 = sum_c d^2 e^(b d), in double.
/// The same bits on every target; e^x is a polynomial of its own, relative error below 1e-15, 0 below -700.
void tempered_sums(const float* d, size_t blocks, size_t k, double b, double* s0, double* s1, double* s2);
void tempered_sums_reference(const float* d, size_t blocks, size_t k, double b, double* s0, double* s1, double* s2);

}  // namespace ballast
