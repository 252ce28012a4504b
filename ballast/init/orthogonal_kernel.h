#pragma once

#include <cstddef>

namespace ballast {

// Rows of `length` numbers, one behind the other. All sums have a fixed order, the same on every target.

/// c[r * stride + j] = dot product of row r of v and row j of q, r < rows, j < count: eight sums over k mod 8, then added in pairs.
void dot_products(const double* v, size_t rows, const double* q, size_t count, size_t length, double* c, size_t stride);
void dot_products_reference(const double* v, size_t rows, const double* q, size_t count, size_t length, double* c, size_t stride);

/// v[r][k] -= c[r * stride + j] * q[j][k] for j = 0, 1, ... in turn, for k in [begin, end).
void subtract_products(double* v, size_t rows, const double* q, size_t count, size_t length, const double* c, size_t stride,
                       size_t begin, size_t end);
void subtract_products_reference(double* v, size_t rows, const double* q, size_t count, size_t length, const double* c,
                                 size_t stride, size_t begin, size_t end);

}  // namespace ballast
