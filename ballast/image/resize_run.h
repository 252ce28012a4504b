#pragma once

// Runs one resampling row by row, so that a caller can store each row at once; not public.

#include <cstdint>
#include <vector>

#include <ballast/image/image.h>
#include <ballast/image/resize_axis.h>

namespace ballast::detail {

/// True if the axis copies pixels.
inline bool unchanged(const AxisSpec& axis) {
  return !axis.flip && axis.source == axis.full && axis.begin == axis.low;
}

class Resampler {
 public:
  /// First pass. The corner of `source`, which holds at least what source_range states, is pixel (top, left) of the
  /// picture that the specs speak of. y.flip must be false.
  void start(ImageView source, int32_t top, int32_t left, const AxisSpec& y, const AxisSpec& x,
             Interpolation interpolation, bool antialias);
  /// Row i of the result: a row of the source, or made in `room`, which holds a result's row and 64 bytes.
  const uint8_t* row_u8(int32_t i, uint8_t* room);
  void row_f32(int32_t i, float* out);

 private:
  AxisTable horizontal_, vertical_;
  Image between_;
  std::vector<uint8_t> strip_;
  ImageView rows_;
  bool vertical_needed_ = false;
};

}  // namespace ballast::detail
