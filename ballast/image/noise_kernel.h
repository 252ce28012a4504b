#pragma once

// Fields of normal numbers and noise on rows of 8-bit pixels; plain pointers, not public.

#include <cstddef>
#include <cstdint>

namespace ballast::detail {

/// out[k] = field_normal of word (first + k) % 4 of Philox block (first + k) / 4 of `slot`, for k in [0, n): as FieldWords counts.
void field_normals(uint64_t key_bits, uint32_t slot, uint64_t first, float* out, size_t n);
void field_normals_reference(uint64_t key_bits, uint32_t slot, uint64_t first, float* out, size_t n);

/// p[i] = clamp(round(p[i] + 255 (mean + sigma z[i]))).
void add_noise(uint8_t* p, const float* z, size_t n, float mean, float sigma);
void add_noise_reference(uint8_t* p, const float* z, size_t n, float mean, float sigma);

}  // namespace ballast::detail
