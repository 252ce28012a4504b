#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <ballast/image/image.h>
#include <ballast/image/resize.h>

namespace ballast {

/// What lies outside a picture: a fill colour, or pixels of it. reflect does not repeat the edge (period 2 (n - 1)),
/// symmetric does (period 2 n).
enum class Border : uint8_t { constant, edge, reflect, symmetric, wrap };
std::string_view to_string(Border border);

/// 3x3, row by row, for column vectors (x, y, 1) in pixels; pixel (i, j) has its centre at (j + 1/2, i + 1/2).
using Matrix = std::array<double, 9>;
Matrix multiply(const Matrix& a, const Matrix& b);
/// Errors: std::invalid_argument if a has no inverse.
Matrix invert(const Matrix& a);
/// The point that (x, y) goes to.
std::array<double, 2> map_point(const Matrix& m, double x, double y);

/// Displacements of a canvas, in pixels, at pixel centres; bilinear between them, constant beyond the edge.
struct DisplacementField {
  int32_t h = 0, w = 0;
  std::vector<float> dx, dy;
  std::array<double, 2> at(double x, double y) const;
};

/// One geometric operation: where the pixels of its canvas come from on the canvas before it. The point p of its canvas
/// comes from g(q), q = p + field(p) with a field, q = c + (p - c)(1 + k r^2) with radial k (r: distance to the centre c
/// over half the diagonal), else q = p.
struct WarpStep {
  Matrix g = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  /// The canvas before, and its own.
  int32_t in_h = 0, in_w = 0, out_h = 0, out_w = 0;
  Border border = Border::constant;
  std::array<uint8_t, 3> fill = {};
  /// Its canvas is exactly the image of the one before (flips, turns, resizes): nothing of it lies outside.
  bool onto = false;
  double radial = 0;
  const DisplacementField* field = nullptr;

  bool linear() const { return radial == 0 && field == nullptr; }
  std::array<double, 2> source_of(double x, double y) const;
};

struct WarpOptions {
  /// nearest, bilinear or bicubic (a = -1/2).
  Interpolation interpolation = Interpolation::bilinear;
  /// Where the map shrinks: 2x2 samples per pixel up to a factor of 2, an antialiased shrink before them beyond.
  bool antialias = true;
};

/// Memory kept from call to call. One per thread.
struct WarpScratch {
  ResizeScratch resize;
  Image small;
  std::vector<WarpStep> steps;
  std::vector<double> xs, ys;
};

/// All steps as one resampling: out(p) = source(G_1(... G_n(p))).
///
///   bilinear  x' = x - 1/2, t = float(x' - floor(x')); (1 - t) a + t b, columns, then rows; floor(v + 1/2)
///   nearest   the pixel that holds G(p)
///   fill      where the point of step k lies outside the canvas before it, that step's border decides, the last step
///             first: what an earlier step cut off never comes back. At the edge of the source itself taps outside take
///             the border's value, so edges blend.
///
/// `source` may be a part of the picture whose corner is its pixel (top, left), if it holds all that is read
/// (warp_source). u8 with 1, 3 or 4 channels. Coordinates are doubles formed anew for every pixel.
/// Errors   std::invalid_argument if a perspective's denominator changes its sign on the canvas.
void warp(ImageView source, int32_t top, int32_t left, std::span<const WarpStep> steps, const WarpOptions& options,
          Image& out, WarpScratch& scratch);
/// Without steps that copy a whole picture.
Image warp(ImageView source, const Matrix& inverse, int32_t h, int32_t w, const WarpOptions& options = {},
           Border border = Border::constant, std::array<uint8_t, 3> fill = {});

/// Rows [y0, y1) and columns [x0, x1) of the source that warp may read; all of it where that cannot be told.
struct WarpSource {
  int32_t x0 = 0, y0 = 0, x1 = 0, y1 = 0;
};
WarpSource warp_source(std::span<const WarpStep> steps);

namespace detail {
/// Index in [0, n) that position i takes, or -1 for the fill colour.
int32_t fold_index(int64_t i, int64_t n, Border border);
/// A coordinate outside of [0, n) folded back, continuous across pixel edges; not for constant.
double fold_point(double x, int32_t n, Border border);
/// The product of all steps.
Matrix product(std::span<const WarpStep> steps);
/// Largest singular value of the map's derivative, at the centre and, for perspectives, at the corners.
double stretch(const Matrix& m, int32_t h, int32_t w);
}  // namespace detail

}  // namespace ballast
