#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <ballast/image/image.h>

namespace ballast {

/// What is kept of a picture to find others that look the same.
struct PictureLook {
  /// Difference hash, 64 bits: the picture shrunk to 9 x 8 (bilinear, antialiased), then gray (as decode makes it); bit
  /// 8 y + x is set if pixel (y, x) is darker than its right neighbour.
  uint64_t dhash = 0;
  /// Shrunk to 16 x 16, three channels.
  std::array<uint8_t, 768> small{};
};

/// `image`: u8 with 1, 3 or 4 channels (alpha plays no part), not empty.
/// Source   dHash: N. Krawetz, "Kind of Like That", 2013.
PictureLook look_of(ImageView image);

/// Root mean square difference of two small pictures, in levels.
double look_distance(const PictureLook& a, const PictureLook& b);

/// Options of near_duplicates.
struct NearDuplicateOptions {
  /// Bits of the hash that may differ, in [0, 3].
  int max_bits = 3;
  /// Largest look_distance, in levels.
  double max_distance = 8;
};

/// Pairs (i, j), i < j, ascending, whose hashes differ in at most max_bits bits and whose small pictures are at most
/// max_distance apart: the same photo at another size or quality, not another photo of the same thing.
///
/// Two hashes that differ in 3 bits agree in at least one of four 16-bit bands, so only pictures that share a band are compared.
/// Cost     where very many share a band (drawings on white) each is compared with the next 2,000 of its band only.
/// Errors   std::invalid_argument: an option out of range.
std::vector<std::pair<int64_t, int64_t>> near_duplicates(std::span<const PictureLook> looks, const NearDuplicateOptions& options = {});

}  // namespace ballast
