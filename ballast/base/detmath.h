#pragma once

namespace ballast {

// Elementary functions that return the same bits on every CPU, compiler and C library. They use
// only IEEE 754 double additions, multiplications, divisions and square roots in a fixed order,
// without fused multiply-add. (std:: versions differ: glibc picks other code paths by CPU.) Error
// below 1 ulp where the result is a normal number.

/// e^x. Overflows to infinity above 709.78, underflows through subnormals to 0 below -745.13; NaN
/// stays NaN.
double det_exp(double x);

/// Natural logarithm. det_log(0) = -infinity, det_log(x < 0) = NaN, det_log(infinity) = infinity.
double det_log(double x);

/// Sine and cosine of x in radians, for |x| <= 2^20; beyond, infinity and NaN give NaN.
double det_sin(double x);
double det_cos(double x);

/// x^y as C's pow: also negative x with integral y, zeros, infinities and NaN.
double det_pow(double x, double y);

/// z with P(N(0, 1) <= z) = u for u in (0, 1); -infinity at 0, infinity at 1, NaN outside.
/// Relative error about 1e-16. Source: Wichura 1988, algorithm AS 241 (PPND16).
double normal_quantile(double u);

}  // namespace ballast
