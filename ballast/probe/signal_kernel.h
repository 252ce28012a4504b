#pragma once

#include <cstddef>

namespace ballast::detail {

/// Running sums over the rows (samples) of each column of a matrix.
struct ColumnSums {
  float* sum;      ///< of x - shift
  float* square;   ///< of (x - shift)^2
  float* zeros;    ///< how many x are exactly 0
  float* outside;  ///< how many x are <= low or >= high
};

/// Adds one row of n numbers to the sums of its columns. No bit depends on the instruction set.
void add_row(const float* x, const float* shift, size_t n, float low, float high, const ColumnSums& sums);
void add_row_reference(const float* x, const float* shift, size_t n, float low, float high, const ColumnSums& sums);

}  // namespace ballast::detail
