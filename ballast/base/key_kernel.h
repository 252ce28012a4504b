#pragma once

#include <cstddef>
#include <cstdint>

namespace ballast {

/// out[j] = uniform number 32 * group + j of the key with these bits (key.h), for j in [0, 32 * groups).
void uniform_groups(uint64_t key_bits, uint64_t group, double* out, size_t groups);
void uniform_groups_reference(uint64_t key_bits, uint64_t group, double* out, size_t groups);

/// x[i] = normal_quantile(x[i]) (detmath.h), the same bits on every target.
void normal_quantiles(double* x, size_t n);
void normal_quantiles_reference(double* x, size_t n);

}  // namespace ballast
