#pragma once

#include <ballast/norm/kernel_types.h>

// Planes: neighbours that share their statistics and coefficients (NCHW). `elem` tells the type behind each void*.
// Bits do not depend on the SIMD target.

namespace ballast::norm_kernel {

Moments plane_moments(Elem elem, const void* x, const Planes& planes);

/// y = phi(z + residual), z as in Affine. residual and mask may be null. With a mask, bit e of plane p's
/// mask_bytes(planes.size) bytes at mask + p * mask_stride says where the slope is 1 (elsewhere slope.a: relu 0).
void plane_apply(Elem elem, const void* x, const void* residual, void* y, uint8_t* mask, size_t mask_stride,
                 const Planes& planes, const Affine& affine, const Slope& slope);

/// g = dy phi'(z); with a mask, phi' by its bits.
GradSums plane_grad_sums(Elem elem, const void* dy, const void* x, const uint8_t* mask, size_t mask_stride,
                         const Planes& planes, const Affine& affine, const Slope& slope);

/// dx as in GradAffine; dresidual = g where it is not null.
void plane_grad(Elem elem, const void* dy, const void* x, const uint8_t* mask, size_t mask_stride, void* dx,
                void* dresidual, const Planes& planes, const Affine& affine, const Slope& slope, const GradAffine& grad);

}  // namespace ballast::norm_kernel
