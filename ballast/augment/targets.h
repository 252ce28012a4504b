#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

namespace ballast {

/// What becomes of boxes. All bounds are inclusive.
struct BoxOptions {
  /// Boxes that are no boxes (not finite, no width or height, fully outside of the picture): dropped, or an error.
  enum class Invalid : uint8_t { drop, error } invalid = Invalid::drop;
  /// A box stays if the part of it that is still seen is at least this wide and high, in pixels of the result ...
  double min_side = 1;
  /// ... has this area ...
  double min_area = 1;
  /// ... is at least this share of the box as it was given, in [0, 1] ...
  double min_visibility = 0;
  /// ... (or of the box before each step) ...
  enum class VisibilityOf : uint8_t { original, step } visibility_of = VisibilityOf::original;
  /// ... and max(w / h, h / w) is at most this.
  double max_aspect = std::numeric_limits<double>::infinity();
  /// Boxes end at the picture's edge; without it those that stay keep what lies outside.
  bool clip = true;
  /// Draws that would lose every box are drawn again, up to 8 times; then the sample stays as it is.
  bool require_box = false;
};

/// What becomes of keypoints.
struct PointOptions {
  /// Points outside of the picture: visible = 0, removed, or left. Their coordinates are never moved to the edge.
  enum class Outside : uint8_t { hide, drop, keep } outside = Outside::hide;
  /// Labels that change places in a mirror: left and right eye.
  std::vector<std::array<int32_t, 2>> flip_pairs = {};
};

/// How masks, boxes and points follow their picture (Pipeline::apply).
///
///   boxes   corners through all geometric steps as one map, clipped at every canvas as a polygon, then their
///           axis-aligned hull; where a step bends lines (elastic, ...) 8 points a side
///   points  the same map; angle and scale by its derivative J: direction J (cos a, sin a), scale sqrt|det J|
///   masks   the same map. Ids: nearest, outside `ignore`; the other borders (edge, reflect, ...) as the picture.
///           Heat: as the picture, outside 0.
///
/// Colour, noise and augmix leave them alone. Erasing changes masks only with fill_mask=ID.
/// iou_crop drops the boxes whose centre is outside of its window.
struct TargetOptions {
  BoxOptions boxes = {};
  PointOptions points = {};
};

/// Errors   std::invalid_argument `[boxes] min_visibility must be in [0, 1], got 2`, ...
void check_targets(const TargetOptions& options);

}  // namespace ballast
