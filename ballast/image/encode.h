#pragma once

#include <cstddef>
#include <vector>

#include <ballast/image/image.h>

namespace ballast {

/// PNG file of an 8-bit image with 1, 3 or 4 channels, zlib level 6. Lossless.
/// Errors: std::invalid_argument if the image is empty or not u8.
std::vector<std::byte> encode_png(ImageView image);

/// Baseline JPEG file of an 8-bit image with 1 or 3 channels: 4:2:0, accurate integer DCT, standard tables.
/// quality in [1, 100].
/// Errors: std::invalid_argument if the image is empty, not u8, has 4 channels, or quality is out of range.
std::vector<std::byte> encode_jpeg(ImageView image, int quality = 90);

}  // namespace ballast
