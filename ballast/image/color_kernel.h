#pragma once

// Exact colour arithmetic on rows of 8-bit pixels; plain pointers, not public.

#include <array>
#include <cstddef>
#include <cstdint>

namespace ballast::detail {

/// One step of a chain. After every step the values are whole levels again, as if each step stood alone. Apart from the
/// tables all arithmetic is on 16-bit whole numbers, so that a vector holds twice as many pixels as of floats.
///
///   table       brightness, contrast: any rule that takes one value
///   gray        (r' + g' + b') >> 8 with x' = (x w) >> 8, w = 0.2989, 0.587, 0.114 in 1/65536: 0.2989 R + 0.587 G + 0.114 B
///               rounded down, or in 0.6 % of all colours the level below
///   saturation  gray + f (x - gray), f in 1/16384 and the product in 1/64 level, rounded down, clamped
///   hue         HSV's hue turned: with M the largest channel, m the smallest and D = M - m, red, green and blue are
///               M - D clamp(2 - |s - c|, 0, 1), s the hue in sixths of the circle, c = 3, 5 and 1 (cyclic); the circle has
///               65536 parts, so that it closes by itself. One division, in float
struct ColorStep {
  enum class Kind : uint8_t { table, saturation, hue, grayscale } kind = Kind::grayscale;
  int16_t factor = 0;   // of saturation, in 1 / 2^(8 + fraction)
  int16_t fraction = 0; // bits behind the point of its product: 6 for factors below 2, fewer above
  uint16_t turn = 0;    // in 1/65536 of the circle
  std::array<uint8_t, 256> table = {};
};
/// trunc(clamp(f x, 0, 255)).
ColorStep brightness_step(double f);
/// trunc(clamp(f x + (1 - f) level, 0, 255)).
ColorStep contrast_step(double f, float level);
/// f >= 0; above 128 it is 128.
ColorStep saturation_step(double f);
ColorStep hue_step(double part_of_circle);
ColorStep grayscale_step();

/// out = the chain applied to n pixels of c (3 or 4) interleaved bytes; a fourth channel is copied. out may be in.
void color_chain(const uint8_t* in, uint8_t* out, size_t n, int32_t c, const ColorStep* steps, size_t count);
void color_chain_reference(const uint8_t* in, uint8_t* out, size_t n, int32_t c, const ColorStep* steps,
                           size_t count);

/// color_chain that returns the sum of gray over what it writes.
uint64_t color_chain_sum(const uint8_t* in, uint8_t* out, size_t n, int32_t c, const ColorStep* steps, size_t count);

/// Sum of gray over n pixels behind the chain; c as above.
uint64_t gray_sum(const uint8_t* in, size_t n, int32_t c, const ColorStep* steps, size_t count);
uint64_t gray_sum_reference(const uint8_t* in, size_t n, int32_t c, const ColorStep* steps, size_t count);

}  // namespace ballast::detail
