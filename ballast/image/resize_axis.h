#pragma once

// Weight tables of separable resampling; shared by resize and the pipeline's fused resampling, not public.

#include <cstdint>
#include <vector>

#include <ballast/image/resize.h>

namespace ballast::detail {

/// Outputs of one axis and where they come from. `source` real pixels from `begin` on are spread over `full` outputs,
/// of which [first, first + count) are made; filters read source pixels in [low, high) only.
struct AxisSpec {
  double begin = 0, source = 0;
  int32_t low = 0, high = 0;
  int32_t full = 0, first = 0, count = 0;
  bool flip = false;
};

/// Weights of output i: taps[i] source pixels from start[i] on (counted from `origin`), weight[i * stride + k].
/// Weights behind taps[i] are 0, up to `stride`, which is even.
struct AxisTable {
  std::vector<int32_t> start, taps;
  std::vector<int32_t> fixed;   // 22 bits, for u8
  std::vector<float> real;      // for f32
  /// The same weights for 16-bit multiplication, a pair of taps in an int32: high = fixed >> 11 in one table,
  /// low = fixed & 2047 in the other; low 16 bits hold the even tap.
  std::vector<int32_t> high_pairs, low_pairs;
  int32_t stride = 0;
  int32_t count = 0;
  /// First source pixel read, and one behind the last.
  int32_t origin = 0, end = 0;

 private:
  std::vector<double> exact_;
  friend void make_table(const AxisSpec&, Interpolation, bool antialias, DType, bool even, AxisTable&);
};

/// Source pixels [first, second) that the outputs of `spec` read.
std::pair<int32_t, int32_t> source_range(const AxisSpec& spec, Interpolation interpolation, bool antialias);

/// Fills `table`, whose start values count from its origin, for u8 or f32 pixels. `even`: start values are even, a
/// weight of 0 standing before the others where that needs one pixel more.
void make_table(const AxisSpec& spec, Interpolation interpolation, bool antialias, DType dtype, bool even,
                AxisTable& table);

constexpr int kWeightBits = 22;

}  // namespace ballast::detail
