#pragma once

// No torch in this header: plain pointers and sizes.

#include <cstddef>
#include <cstdint>

#include <ballast/base/key.h>

namespace ballast {

/// How a probability becomes a comparison of bits: number i is dropped if its `width` bits are below `threshold`.
struct DropRate {
  uint64_t threshold = 0;  ///< round(2^width p), 0 .. 2^width
  int width = 16;          ///< 16 or 32
  /// Of the 32 bits the upper 16 are bits16(key, i); where they equal those of the threshold, and only there, the lower 16 are
  /// drawn too: bits16(key.fold_in("low"), i). As exact as 32 bits, for half the draws.
  bool split = false;
  /// threshold / 2^width: the probability that is really met, and that scales divide by.
  double p() const { return static_cast<double>(threshold) / (width == 16 ? 0x1p16 : 0x1p32); }
  bool none() const { return threshold == 0; }
  bool all() const { return threshold >> width != 0; }
};
/// Of an element: 16 bits, 32 where p or 1 - p is below 2^-6. p in [0, 1].
DropRate element_rate(double p);
/// Of a sample or channel: 32 bits, as event() of base/key.
DropRate event_rate(double p);
/// Of a block's corner, of which there are nearly as many as elements: 32 bits, split.
DropRate corner_rate(double p);

/// Bits that hold `n` decisions of any alignment, in 16-bit words; vectors may read behind the last one.
constexpr size_t keep_words(size_t n) { return n / 16 + 24; }

/// Memory that will be read next: the caches are asked for it while numbers are drawn, which needs none.
struct Ahead {
  const void* data = nullptr;
  size_t bytes = 0;
};

/// Draws numbers first .. first + n of `key`: bit (result + i) of `keep`, lowest first, is 1 if number first + i is
/// kept. `keep` has keep_words(n) words.
size_t draw_keep(Key key, uint64_t first, size_t n, DropRate rate, uint16_t* keep, Ahead ahead = {});
size_t draw_keep_reference(Key key, uint64_t first, size_t n, DropRate rate, uint16_t* keep);

/// What becomes of an element: scale * x + shift where it is kept, fill where it is dropped, even if x is NaN.
struct KeepValues {
  double scale = 1, shift = 0, fill = 0;
  /// Results go past the caches: they belong to a tensor larger than those. Who asks for it calls end_stream() after the last.
  bool stream = false;
  friend bool operator==(const KeepValues&, const KeepValues&) = default;
};

/// y[i] for i in [0, n) by the bits offset + i of `keep`; y may be x. Half types are given by their bits: computed in
/// float32 and rounded once.
void apply_keep(const float* x, float* y, size_t n, const uint16_t* keep, size_t offset, KeepValues v);
void apply_keep(const double* x, double* y, size_t n, const uint16_t* keep, size_t offset, KeepValues v);
void apply_keep_bf16(const uint16_t* x, uint16_t* y, size_t n, const uint16_t* keep, size_t offset, KeepValues v);

/// The same for one sample that stands in memory as (positions, channels), where the bits are in the order (channels,
/// positions).
void apply_keep_nhwc(const float* x, float* y, size_t channels, size_t positions, const uint16_t* keep, size_t offset,
                     KeepValues v);
void apply_keep_nhwc(const double* x, double* y, size_t channels, size_t positions, const uint16_t* keep, size_t offset,
                     KeepValues v);
void apply_keep_nhwc_bf16(const uint16_t* x, uint16_t* y, size_t channels, size_t positions, const uint16_t* keep,
                          size_t offset, KeepValues v);

/// Before another thread may read what this one has streamed; once for many calls, it waits for memory.
void end_stream();

/// y[0 .. bytes) = 0, as apply_keep stores.
void store_zeros(void* y, size_t bytes, bool stream);

/// draw_keep and apply_keep for elements first .. first + n, a cache-sized piece at a time.
void drop_elements(const float* x, float* y, size_t n, Key key, uint64_t first, DropRate rate, KeepValues v);
void drop_elements(const double* x, double* y, size_t n, Key key, uint64_t first, DropRate rate, KeepValues v);
void drop_elements_bf16(const uint16_t* x, uint16_t* y, size_t n, Key key, uint64_t first, DropRate rate, KeepValues v);

/// Sum of w[i] x[i] over the kept i: 16 running sums by i mod 16, added in a fixed tree, so that every instruction set
/// gives the same bits.
float keep_dot(const float* w, const float* x, size_t n, const uint16_t* keep, size_t offset);
/// out[i] += a w[i] for the kept i.
void keep_axpy(float a, const float* w, float* out, size_t n, const uint16_t* keep, size_t offset);

inline bool kept(const uint16_t* keep, size_t bit) { return (keep[bit / 16] >> (bit % 16) & 1) != 0; }
/// Clears bits [begin, end).
void clear_bits(uint16_t* keep, size_t begin, size_t end);

}  // namespace ballast
