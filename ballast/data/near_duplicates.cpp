#include <ballast/base/check.h>
#include <ballast/data/near_duplicates.h>
#include <ballast/image/resize.h>

#include <algorithm>
#include <bit>
#include <cmath>

namespace ballast {
namespace {

constexpr int32_t kSide = 16;
constexpr size_t kMostOfABand = 2000;

uint32_t gray(const uint8_t* p, int32_t channels) {
  return channels < 3 ? p[0] : (19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 32768u) >> 16;
}

}  // namespace

PictureLook look_of(ImageView image) {
  PictureLook look;
  const Image hash = resize(image, 8, 9);
  for (int32_t y = 0; y < 8; ++y) {
    const uint8_t* row = hash.row_u8(y);
    for (int32_t x = 0; x < 8; ++x) {
      const bool darker = gray(row + x * image.c, image.c) < gray(row + (x + 1) * image.c, image.c);
      look.dhash |= uint64_t{darker} << (8 * y + x);
    }
  }
  const Image small = resize(image, kSide, kSide);
  for (int32_t y = 0; y < kSide; ++y) {
    for (int32_t x = 0; x < kSide; ++x) {
      for (int32_t c = 0; c < 3; ++c) {
        look.small[static_cast<size_t>((y * kSide + x) * 3 + c)] = small.row_u8(y)[x * image.c + (image.c < 3 ? 0 : c)];
      }
    }
  }
  return look;
}

double look_distance(const PictureLook& a, const PictureLook& b) {
  int64_t sum = 0;
  for (size_t i = 0; i < a.small.size(); ++i) {
    const int32_t d = int32_t{a.small[i]} - b.small[i];
    sum += d * d;
  }
  return std::sqrt(static_cast<double>(sum) / static_cast<double>(a.small.size()));
}

std::vector<std::pair<int64_t, int64_t>> near_duplicates(std::span<const PictureLook> looks, const NearDuplicateOptions& options) {
  check(options.max_bits >= 0 && options.max_bits <= 3, "near_duplicates", "max_bits must be in [0, 3], got ", options.max_bits);
  check(options.max_distance >= 0, "near_duplicates", "max_distance must be >= 0, got ", options.max_distance);
  std::vector<std::pair<int64_t, int64_t>> pairs;
  std::vector<int64_t> order(looks.size());
  for (int band = 0; band < 4; ++band) {
    const auto key = [&](int64_t i) { return static_cast<uint16_t>(looks[static_cast<size_t>(i)].dhash >> (16 * band)); };
    for (size_t i = 0; i < order.size(); ++i) {
      order[i] = static_cast<int64_t>(i);
    }
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return key(a) < key(b); });
    for (size_t a = 0; a < order.size(); ++a) {
      const PictureLook& first = looks[static_cast<size_t>(order[a])];
      for (size_t b = a + 1; b < std::min(order.size(), a + 1 + kMostOfABand) && key(order[b]) == key(order[a]); ++b) {
        const PictureLook& second = looks[static_cast<size_t>(order[b])];
        if (std::popcount(first.dhash ^ second.dhash) <= options.max_bits && look_distance(first, second) <= options.max_distance) {
          pairs.emplace_back(order[a], order[b]);
        }
      }
    }
  }
  std::sort(pairs.begin(), pairs.end());
  pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
  return pairs;
}

}  // namespace ballast
