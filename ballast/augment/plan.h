#pragma once

// What a pipeline does to one picture: drawn parameters lowered to resampling stages; not public.

#include <array>
#include <cstdint>
#include <vector>

#include <ballast/augment/pipeline_text.h>
#include <ballast/base/key.h>
#include <ballast/image/image.h>
#include <ballast/image/resize_axis.h>

namespace ballast::detail {

/// One axis of a stage: a window on a grid of `full` points, which are `source` real pixels from `begin` on.
/// Points inside [valid, valid + valid_count) have a value, those outside are padded.
struct AxisPlan {
  double begin = 0, source = 0;
  int32_t low = 0, high = 0;
  int32_t full = 0;
  int32_t valid = 0, valid_count = 0;
  int32_t window = 0, count = 0;
  bool flip = false, resampled = false;

  void init(int32_t n) {
    *this = {};
    source = n;
    high = full = valid_count = count = n;
  }
  bool padded() const { return window < valid || window + count > valid + valid_count; }
  void crop(int32_t from, int32_t n);
  /// Must not be padded.
  void pad(int32_t before, int32_t after);
  void resize(int32_t n);
  /// The outputs that have a value.
  AxisSpec spec() const { return {begin, source, low, high, full, valid, valid_count, false}; }
};

/// One pass from pixels to pixels.
struct Stage {
  AxisPlan y, x;
  PaddingMode mode = PaddingMode::constant;
  std::array<uint8_t, 3> fill = {};
  Interpolation interpolation = Interpolation::bilinear;
  bool antialias = true;
};

/// Draws every step's parameters for a picture of h x w from `key` and lowers them to `stages`: one, unless padding
/// stands before another padding or before a resampling.
void plan(const std::vector<Step>& steps, int32_t h, int32_t w, Key key, std::vector<Stage>& stages);

}  // namespace ballast::detail
