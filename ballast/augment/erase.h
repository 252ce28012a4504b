#pragma once

// Paints erasures; not public.

#include <ballast/augment/batch_slot.h>
#include <ballast/augment/plan.h>

namespace ballast::detail {

/// Into normalized values: `out` is c planes of h x w (chw) or interleaved.
void erase_floats(const Erasure& e, float* out, int32_t h, int32_t w, int32_t c, Layout layout, const float* a,
                  const float* b);
/// Into 8-bit pixels: a normalized value v becomes round(clamp((v - b) / a)).
void erase_bytes(const Erasure& e, Image& image, const float* a, const float* b);

}  // namespace ballast::detail
