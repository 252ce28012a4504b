#pragma once

// Geometric moves that operations and policies share; not public.

#include <ballast/augment/plan.h>

namespace ballast::detail {

/// How an operation resamples and what it paints outside.
struct Resampling {
  Interpolation interpolation = Interpolation::bilinear;
  bool antialias = true;
  Border border = Border::constant;
  Fill fill = {};
};

/// Counter-clockwise about (cx, cy); multiples of 90 degrees that map the canvas onto a canvas are copies. `expand`: the
/// canvas grows to hold all corners.
void rotate(Planner& plan, double degrees, const Resampling& r, bool expand = false, const double* centre = nullptr);
/// Quarter turns counter-clockwise.
void quarter_turns(Planner& plan, int turns);
/// x_src = x + amount y; about the top left corner.
void shear_x(Planner& plan, double amount, const Resampling& r);
void shear_y(Planner& plan, double amount, const Resampling& r);
/// The map that takes `to` to `from`: a homography from four points.
Matrix homography(const double (&to)[4][2], const double (&from)[4][2]);
/// The fill that a step asks for.
Fill fill_of(const Step& step, size_t arg, const Planner& plan);

}  // namespace ballast::detail
