#pragma once

// Exact colour arithmetic on rows of 8-bit pixels; plain pointers, not public.

#include <cstddef>
#include <cstdint>

namespace ballast::detail {

/// One step of a chain. After every step the values are whole numbers again, as if each step stood alone.
///
///   gray        0.2989 R + 0.587 G + 0.114 B in float, from left to right, rounded down
///   blend       trunc(clamp(f x + g o, 0, 255)), o: 0 (brightness), level (contrast), gray (saturation)
///   hue         the hue of HSV turned by f of a circle
struct ColorStep {
  enum class Kind : uint8_t { brightness, contrast, saturation, hue, grayscale } kind = Kind::brightness;
  float f = 1;      // factor, or part of the circle
  float g = 0;      // 1 - f, formed in double
  float level = 0;  // contrast's grey
};

/// out = the chain applied to n pixels of c (3 or 4) interleaved bytes; a fourth channel is copied. out may be in.
void color_chain(const uint8_t* in, uint8_t* out, size_t n, int32_t c, const ColorStep* steps, size_t count);
void color_chain_reference(const uint8_t* in, uint8_t* out, size_t n, int32_t c, const ColorStep* steps,
                           size_t count);

/// color_chain that returns the sum of gray over what it writes.
uint64_t color_chain_sum(const uint8_t* in, uint8_t* out, size_t n, int32_t c, const ColorStep* steps, size_t count);

/// Sum of gray over n pixels behind the chain; c as above.
uint64_t gray_sum(const uint8_t* in, size_t n, int32_t c, const ColorStep* steps, size_t count);
uint64_t gray_sum_reference(const uint8_t* in, size_t n, int32_t c, const ColorStep* steps, size_t count);

/// out[i] = table[in[i]] for i in [0, n). out may be in.
void apply_table(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* table);
void apply_table_reference(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* table);

/// A table of its own for each of three interleaved channels: channel j of a pixel goes through tables + 256 j.
void apply_tables3(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* tables);
void apply_tables3_reference(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* tables);

}  // namespace ballast::detail
