#pragma once

// Takes masks, boxes and points along a plan; not public.

#include <span>
#include <string_view>

#include <ballast/augment/plan.h>
#include <ballast/augment/targets.h>
#include <ballast/image/sample.h>

namespace ballast::detail {

/// Corners of boxes as the canvas is behind `steps`; those of which nothing is left are left out.
std::vector<std::array<double, 4>> carry_corners(std::span<const GeometryStep> steps,
                                                 const std::vector<std::array<double, 4>>& boxes);

/// Rows of boxes that are boxes and touch the h x w picture. Errors: those of invalid = error.
std::vector<int64_t> valid_boxes(const Boxes& boxes, int32_t h, int32_t w, const BoxOptions& options, std::string_view name);

/// Boxes through `steps`, and which of them stay.
void carry_boxes(std::span<const GeometryStep> steps, const BoxOptions& options, int32_t h, int32_t w, Boxes& boxes);
void carry_points(std::span<const GeometryStep> steps, const PointOptions& options, int32_t h, int32_t w, Keypoints& points);
/// Ids through the plan, and what its erasures paint on them. `each`: a resampling per step.
void carry_ids(const Plan& plan, bool each, Mask& mask);

/// Pixels of instances that are gone become 0; gone[i]: instance i + 1.
void forget_instances(const std::vector<bool>& gone, Mask& mask);

}  // namespace ballast::detail
