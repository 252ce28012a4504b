#pragma once

#include <ballast/norm/kernel_types.h>

// Rows of channels (channels_last): each column has its statistics and coefficients. Arrays of a value per column are of
// the compute type of `elem` where they are void*. Bits do not depend on the SIMD target.

namespace ballast::norm_kernel {

/// `values` neighbours in rows of `width`; the last row may be shorter. A mask has mask_bytes(width) bytes a row.
struct Rows {
  size_t values = 0, width = 0;
  bool stream = false;  ///< as in Planes
};

/// z = (x - center) scale + offset, by column.
struct ColumnAffine {
  const void *center = nullptr, *scale = nullptr, *offset = nullptr;
};
/// dx = g by_g + (x - center) by_x + constant, by column.
struct ColumnGradAffine {
  const void *by_g = nullptr, *by_x = nullptr, *constant = nullptr;
};

/// Adds sums of x - shift and of its square to s1 and s2, by column.
void channel_sums(Elem elem, const void* x, const Rows& rows, const void* shift, double* s1, double* s2);

/// y = phi(z + residual); residual, mask as in plane_apply.
void channel_apply(Elem elem, const void* x, const void* residual, void* y, uint8_t* mask, const Rows& rows,
                   const ColumnAffine& affine, const Slope& slope);

/// Adds sums of g and of g (x - center) to s1 and s2, by column.
void channel_grad_sums(Elem elem, const void* dy, const void* x, const uint8_t* mask, const Rows& rows,
                       const ColumnAffine& affine, const Slope& slope, double* s1, double* s2);

void channel_grad(Elem elem, const void* dy, const void* x, const uint8_t* mask, void* dx, void* dresidual,
                  const Rows& rows, const ColumnAffine& affine, const Slope& slope, const ColumnGradAffine& grad);

}  // namespace ballast::norm_kernel
