#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include <ballast/base/key.h>
#include <ballast/image/image.h>

namespace ballast {

/// One operation on the pixels of an 8-bit picture, all its parameters drawn; a plain value that can be kept, compared
/// and replayed. Alpha stays as it is; on one channel saturation, hue, grayscale and channel_shuffle change nothing.
///
///   kind              v[0], v[1], ...                       rule (x: a channel value, gray: 0.2989 R + 0.587 G + 0.114 B)
///   brightness        factor                                trunc(clamp(f x))
///   contrast          factor                                blend(x, m, f): trunc(clamp(f x + (1 - f) m)), m the mean gray
///   saturation        factor up to 128                      blend(x, floor(gray), f) in 1/64 level
///   hue               part of the circle, -0.5..0.5         HSV hue + f, in 1/65536 of the circle
///   hue_yiq           part of the circle                    the I, Q plane turned by 2 pi f
///   grayscale                                               R = G = B = floor(gray)  (color_kernel.h: its bits)
///   gamma             gamma, gain                           floor(255.999 clamp(gain (x / 255)^gamma))
///   invert                                                  255 - x
///   posterize         bits 0..8                             the high bits
///   solarize          threshold                             x >= t ? 255 - x : x
///   solarize_add      addition, threshold                   x < t ? min(255, x + a) : x
///   channel_shuffle   three indices                         out[j] = in[v[j]]
///   rgb_shift         three shifts                          clamp(round(x + s_j)); fancy_pca uses it too
///   autocontrast                                            per channel: the range it has becomes 0..255 (Pillow's rule)
///   equalize                                                per channel: Pillow's histogram equalization
///   clahe             clip, tiles                           luma equalized tile by tile, counts above clip n/256 spread
///   sharpness         factor                                blend(x, smoothed 3x3, f)
///   gaussian_blur     sigma, kernel size (odd)              separable, border reflected, rounded
///   median_blur       size 3 or 5                           per channel, border repeated
///   motion_blur       length, angle in degrees              mean along a line, border repeated
///   unsharp           sigma, amount                         x + a (x - blur)
///   downscale         scale                                 box down, nearest up
///   jpeg              quality                               coded and decoded again
///   gaussian_noise    mean, sigma, per channel 0|1, slot    clamp(round(x + 255 (mean + sigma N)))
///   salt_pepper       amount, slot                          u < a/2: 0; u >= 1 - a/2: 255
///   pixel_dropout     share, slot                           u < share: 0
///
/// Source   torchvision v2 (colour), Pillow (posterize, solarize, autocontrast, equalize), Zuiderveld 1994 (clahe).
struct PixelOp {
  enum class Kind : uint8_t {
    brightness, contrast, saturation, hue, grayscale,  // the fused chain
    gamma, invert, posterize, solarize, solarize_add, rgb_shift,  // a table per channel
    autocontrast, equalize,                                       // a table per channel from the histogram
    hue_yiq, channel_shuffle, clahe, sharpness, gaussian_blur, median_blur, motion_blur, unsharp, downscale, jpeg,
    gaussian_noise, salt_pepper, pixel_dropout
  };
  Kind kind = Kind::invert;
  std::array<double, 4> v = {};
  /// Of the fields of noise.
  Key key;
  friend bool operator==(const PixelOp&, const PixelOp&) = default;
};

/// Memory of run_pixel_ops, kept from picture to picture. One per thread.
struct PixelScratch {
  Image image, part;
  std::vector<float> floats, weights;
  std::vector<const float*> rows;
  std::vector<const uint8_t*> taps;
  std::vector<uint8_t> bytes;
  std::vector<uint32_t> counts;
};

/// Applies the operations in their order, in place. Neighbouring operations share a pass; the result is that of one
/// after the other, bit for bit, on every CPU.
/// Errors: std::invalid_argument unless the picture is u8 with 1, 3 or 4 channels.
void run_pixel_ops(std::span<const PixelOp> ops, Image& image, PixelScratch& scratch);

namespace detail {
// Those that see a neighbourhood or draw a field; each in place.
void sharpness(Image& image, double factor, PixelScratch& s);
void gaussian_blur(Image& image, double sigma, int32_t size, PixelScratch& s);
void median_blur(Image& image, int32_t size, PixelScratch& s);
void motion_blur(Image& image, int32_t length, double angle, PixelScratch& s);
void unsharp(Image& image, double sigma, double amount, PixelScratch& s);
void downscale(Image& image, double scale, PixelScratch& s);
void jpeg_compression(Image& image, int32_t quality, PixelScratch& s);
void clahe(Image& image, double clip, int32_t tiles, PixelScratch& s);
void gaussian_noise(Image& image, double mean, double sigma, bool per_channel, Key key, uint32_t slot, PixelScratch& s);
void salt_pepper(Image& image, double amount, Key key, uint32_t slot);
void pixel_dropout(Image& image, double share, Key key, uint32_t slot);

/// Standard normal field: number i has word i % 4 of block i / 4 of `slot`, u = (word + 1/2) 2^-32, by AS 241's
/// single-precision form (PPND7).
float field_normal(uint32_t word);
/// Words of a field, one after the other.
class FieldWords {
 public:
  FieldWords(Key key, uint32_t slot) : key_(key), slot_(slot) {}
  uint32_t operator()(uint64_t i) {
    if (i / 4 != block_) {
      block_ = i / 4;
      words_ = philox(key_, {slot_, 0, static_cast<uint32_t>(block_), static_cast<uint32_t>(block_ >> 32)});
    }
    return words_[i % 4];
  }

 private:
  Key key_;
  uint32_t slot_;
  uint64_t block_ = ~uint64_t{0};
  std::array<uint32_t, 4> words_{};
};
}  // namespace detail

}  // namespace ballast
