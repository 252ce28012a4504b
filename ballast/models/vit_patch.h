#pragma once

#include <cstdint>

namespace ballast::detail {

/// The patch size of vit_tiny: 16 from 128 px on, 8 from 64, 4 from 24, else 2, or the next smaller one (down to half
/// of it) that divides height and width.
/// Errors: std::invalid_argument if none does.
int64_t vit_patch(int64_t height, int64_t width);

}  // namespace ballast::detail
