#pragma once

#include <cstddef>

namespace ballast {

/// sum_i log(s[i] + sign * p[i]), all terms positive and normal. Products of eight terms a lane, of which the exponent is
/// split off: a logarithm a lane and call. 16 lanes, i mod 16; the same bits on every target.
double sum_log(const double* s, const float* p, double sign, size_t n);
double sum_log_reference(const double* s, const float* p, double sign, size_t n);

}  // namespace ballast
