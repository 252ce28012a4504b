#pragma once

#include <ballast/norm/kernel_types.h>

// Layer and root mean square norm. `elem` tells the type behind x, y, dy, dx; all other void* are arrays of its compute
// type. Bits do not depend on the SIMD target.

namespace ballast::norm_kernel {

/// Where the normalized values stand.
struct Features {
  /// Sets of values that are normalized alone, and values in each.
  size_t sets = 0, size = 0;
  /// 0: a set's values are neighbours and sets follow each other (rows). Else a set is a column: value v of set s at
  /// v * stride + s.
  size_t stride = 0;
  bool stream = false;  ///< as in Planes
};

struct FeatureNorm {
  const void* weight = nullptr;  ///< size values, or null: 1
  const void* bias = nullptr;    ///< size values, or null: 0
  double eps = 0;
  bool rms = false;  ///< mean 0, var the mean square
  Slope slope;
};

/// y, and of each set mean (not with rms) and rstd = 1 / sqrt(var + eps).
void feature_forward(Elem elem, const void* x, void* y, const Features& features, const FeatureNorm& norm, void* mean,
                     void* rstd);

/// dx, and sums over sets added to dweight and dbias. scratch: 2 * size values for rows, 2 * sets for columns.
void feature_backward(Elem elem, const void* dy, const void* x, void* dx, const Features& features,
                      const FeatureNorm& norm, const void* mean, const void* rstd, double* dweight, double* dbias,
                      void* scratch);

}  // namespace ballast::norm_kernel
