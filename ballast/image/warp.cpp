#include <ballast/image/warp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include <ballast/base/check.h>
#include <ballast/image/warp_kernel.h>

namespace ballast {

std::string_view to_string(Border border) {
  constexpr std::array<std::string_view, 5> names = {"constant", "edge", "reflect", "symmetric", "wrap"};
  return names[static_cast<size_t>(border)];
}

Matrix multiply(const Matrix& a, const Matrix& b) {
  Matrix out{};
  for (size_t i = 0; i < 3; ++i) {
    for (size_t j = 0; j < 3; ++j) {
      out[3 * i + j] = a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j];
    }
  }
  return out;
}

Matrix invert(const Matrix& m) {
  const Matrix adjugate = {m[4] * m[8] - m[5] * m[7], m[2] * m[7] - m[1] * m[8], m[1] * m[5] - m[2] * m[4],
                           m[5] * m[6] - m[3] * m[8], m[0] * m[8] - m[2] * m[6], m[2] * m[3] - m[0] * m[5],
                           m[3] * m[7] - m[4] * m[6], m[1] * m[6] - m[0] * m[7], m[0] * m[4] - m[1] * m[3]};
  const double det = m[0] * adjugate[0] + m[1] * adjugate[3] + m[2] * adjugate[6];
  check(std::isfinite(det) && det != 0, "warp", "the map must have an inverse, got determinant ", det);
  Matrix out;
  for (size_t i = 0; i < 9; ++i) out[i] = adjugate[i] / det;
  return out;
}

std::array<double, 2> map_point(const Matrix& m, double x, double y) {
  const double w = m[6] * x + m[7] * y + m[8];
  return {(m[0] * x + (m[1] * y + m[2])) / w, (m[3] * x + (m[4] * y + m[5])) / w};
}

std::array<double, 2> DisplacementField::at(double x, double y) const {
  const double fx = std::clamp(x - 0.5, 0.0, w - 1.0), fy = std::clamp(y - 0.5, 0.0, h - 1.0);
  const auto x0 = static_cast<int32_t>(fx), y0 = static_cast<int32_t>(fy);
  const int32_t x1 = std::min(x0 + 1, w - 1), y1 = std::min(y0 + 1, h - 1);
  const double tx = fx - x0, ty = fy - y0;
  const auto mix = [&](const std::vector<float>& d) {
    const auto v = [&](int32_t r, int32_t q) {
      return static_cast<double>(d[static_cast<size_t>(r) * static_cast<size_t>(w) + static_cast<size_t>(q)]);
    };
    return (1 - ty) * ((1 - tx) * v(y0, x0) + tx * v(y0, x1)) + ty * ((1 - tx) * v(y1, x0) + tx * v(y1, x1));
  };
  return {mix(dx), mix(dy)};
}

std::array<double, 2> WarpStep::source_of(double x, double y) const {
  if (field != nullptr) {
    const auto d = field->at(x, y);
    x += d[0];
    y += d[1];
  }
  if (radial != 0) {
    const double cx = out_w / 2.0, cy = out_h / 2.0, dx = x - cx, dy = y - cy;
    const double f = 1 + radial * (dx * dx + dy * dy) / (cx * cx + cy * cy);
    x = cx + dx * f;
    y = cy + dy * f;
  }
  return map_point(g, x, y);
}

namespace detail {

int32_t fold_index(int64_t i, int64_t n, Border border) {
  if (i >= 0 && i < n) return static_cast<int32_t>(i);
  switch (border) {
    case Border::constant: return -1;
    case Border::edge: return static_cast<int32_t>(i < 0 ? 0 : n - 1);
    case Border::reflect: {
      if (n == 1) return 0;
      const int64_t period = 2 * (n - 1);
      const int64_t m = ((i % period) + period) % period;
      return static_cast<int32_t>(m < n ? m : period - m);
    }
    case Border::symmetric: {
      const int64_t m = ((i % (2 * n)) + 2 * n) % (2 * n);
      return static_cast<int32_t>(m < n ? m : 2 * n - 1 - m);
    }
    case Border::wrap: return static_cast<int32_t>(((i % n) + n) % n);
  }
  return -1;
}

Matrix product(std::span<const WarpStep> steps) {
  Matrix g = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  for (const WarpStep& step : steps) g = multiply(g, step.g);
  return g;
}

double fold_point(double x, int32_t n, Border border) {
  if (x >= 0 && x < n) return x;
  if (border == Border::edge) return x < 0 ? 0.5 : n - 0.5;
  // NaN and infinity have no place on the canvas.
  if (!std::isfinite(x) || std::abs(x) > 1e15) return 0.5;
  const double base = std::floor(x);
  const auto whole = static_cast<int64_t>(base);
  const int32_t i = fold_index(whole, n, border);
  // Mirrored copies run backwards.
  const int64_t period = border == Border::reflect ? 2 * (int64_t{n} - 1) : 2 * int64_t{n};
  const int64_t m = period == 0 ? 0 : ((whole % period) + period) % period;
  const bool backwards = border != Border::wrap && m >= n;
  const double t = x - base;
  return i + (backwards ? 1 - t : t);
}

double stretch(const Matrix& m, int32_t h, int32_t w) {
  const auto at = [&](double x, double y) {
    const double d = m[6] * x + m[7] * y + m[8];
    const auto p = map_point(m, x, y);
    const double a = (m[0] - p[0] * m[6]) / d, b = (m[1] - p[0] * m[7]) / d;
    const double c = (m[3] - p[1] * m[6]) / d, e = (m[4] - p[1] * m[7]) / d;
    const double sum = a * a + b * b + c * c + e * e, det = a * e - b * c;
    return std::sqrt((sum + std::sqrt(std::max(0.0, sum * sum - 4 * det * det))) / 2);
  };
  double s = at(w / 2.0, h / 2.0);
  if (m[6] != 0 || m[7] != 0) {
    for (const double x : {0.0, 1.0 * w}) {
      for (const double y : {0.0, 1.0 * h}) s = std::max(s, at(x, y));
    }
  }
  return s;
}

}  // namespace detail

namespace {

class Sampler {
 public:
  Sampler(ImageView source, int32_t top, int32_t left, int32_t full_h, int32_t full_w, Border border,
          std::array<uint8_t, 3> fill, Interpolation interpolation)
      : s_(source), top_(top), left_(left), h_(full_h), w_(full_w), border_(border), interpolation_(interpolation) {
    for (size_t j = 0; j < 4; ++j) fill_[j] = j == 3 ? uint8_t{255} : fill[j];
  }

  /// Values at a point of the source, as floats that are not rounded yet.
  void operator()(double x, double y, float* out) const {
    const auto c = static_cast<size_t>(s_.c);
    if (!(std::abs(x) < 1e9 && std::abs(y) < 1e9)) {
      for (size_t j = 0; j < c; ++j) out[j] = fill_[j];
      return;
    }
    if (interpolation_ == Interpolation::nearest) {
      const uint8_t* p = pixel(static_cast<int64_t>(std::floor(x)), static_cast<int64_t>(std::floor(y)));
      for (size_t j = 0; j < c; ++j) out[j] = p[j];
      return;
    }
    const double xs = x - 0.5, ys = y - 0.5, x0 = std::floor(xs), y0 = std::floor(ys);
    const auto ix = static_cast<int64_t>(x0), iy = static_cast<int64_t>(y0);
    if (interpolation_ == Interpolation::bicubic) {
      float wx[4], wy[4];
      detail::cubic_weights(static_cast<float>(xs - x0), wx);
      detail::cubic_weights(static_cast<float>(ys - y0), wy);
      for (size_t j = 0; j < c; ++j) out[j] = 0;
      for (int r = 0; r < 4; ++r) {
        float row[4] = {};
        for (int k = 0; k < 4; ++k) {
          const uint8_t* p = pixel(ix + k - 1, iy + r - 1);
          for (size_t j = 0; j < c; ++j) row[j] += wx[k] * static_cast<float>(p[j]);
        }
        for (size_t j = 0; j < c; ++j) out[j] += wy[r] * row[j];
      }
      return;
    }
    const auto tx = static_cast<float>(xs - x0), ty = static_cast<float>(ys - y0);
    const uint8_t *a = pixel(ix, iy), *b = pixel(ix + 1, iy), *d = pixel(ix, iy + 1), *e = pixel(ix + 1, iy + 1);
    for (size_t j = 0; j < c; ++j) {
      const float above = (1 - tx) * static_cast<float>(a[j]) + tx * static_cast<float>(b[j]);
      const float below = (1 - tx) * static_cast<float>(d[j]) + tx * static_cast<float>(e[j]);
      out[j] = (1 - ty) * above + ty * below;
    }
  }
  const uint8_t* fill() const { return fill_; }

 private:
  const uint8_t* pixel(int64_t x, int64_t y) const {
    if (x < 0 || x >= w_ || y < 0 || y >= h_) {
      x = detail::fold_index(x, w_, border_);
      y = detail::fold_index(y, h_, border_);
      if (x < 0 || y < 0) return fill_;
    }
    // The part of the source holds what is read; the clamp only guards a misstated part.
    const int64_t px = std::clamp<int64_t>(x - left_, 0, s_.w - 1), py = std::clamp<int64_t>(y - top_, 0, s_.h - 1);
    return s_.row_u8(py) + px * s_.c;
  }

  ImageView s_;
  int32_t top_, left_, h_, w_;
  Border border_;
  Interpolation interpolation_;
  uint8_t fill_[4];
};

uint8_t rounded(float v) { return static_cast<uint8_t>(std::clamp(std::floor(v + 0.5F), 0.0F, 255.0F)); }

/// The first step whose canvas before it is not the whole source: its border is the source's.
size_t border_step(std::span<const WarpStep> steps) {
  size_t k = 0;
  while (k + 1 < steps.size() && steps[k].onto) ++k;
  return k;
}

bool all_linear(std::span<const WarpStep> steps) {
  return std::all_of(steps.begin(), steps.end(), [](const WarpStep& s) { return s.linear(); });
}

/// Whether points of the output may lie outside the canvas before step k.
bool may_leave(std::span<const WarpStep> steps, size_t k) {
  const WarpStep& last = steps.back();
  if (!all_linear(steps.subspan(k))) return true;
  const Matrix m = detail::product(steps.subspan(k));
  for (const double x : {0.5, last.out_w - 0.5}) {
    for (const double y : {0.5, last.out_h - 0.5}) {
      const auto p = map_point(m, x, y);
      if (!(p[0] >= 0 && p[0] < steps[k].in_w && p[1] >= 0 && p[1] < steps[k].in_h)) return true;
    }
  }
  return false;
}

void check_perspective(const Matrix& m, int32_t h, int32_t w) {
  if (m[6] == 0 && m[7] == 0) return;
  const double d[4] = {m[8], m[6] * w + m[8], m[7] * h + m[8], m[6] * w + m[7] * h + m[8]};
  check(std::all_of(d, d + 4, [&](double v) { return v * d[0] > 0; }), "warp",
        "the perspective's denominator changes its sign on the canvas");
}

/// A run of pixels of a row.
struct Run {
  int32_t from = 0, to = 0;
  bool empty() const { return from >= to; }
};
Run both(Run a, Run b) { return {std::max(a.from, b.from), std::min(a.to, b.to)}; }

/// The point `at` of a row, as the kernel computes it.
std::array<double, 2> point_of(const detail::WarpRow& r, double at) {
  const double inverse = r.mw != 0 ? 1 / (r.mw * at + r.bw) : 1;
  return {(r.mx * at + r.bx) * inverse, (r.my * at + r.by) * inverse};
}

/// Pixels of [0, w) whose point t of the row lies in [x0, x1) x [y0, y1), a run of them. Its ends are tried; behind a division
/// what lies between may be off by a rounding, for which a margin is kept.
Run points_in(const detail::WarpRow& r, double t, double x0, double x1, double y0, double y1, int32_t w) {
  const double margin = r.mw != 0 ? 1e-6 : 0;
  x0 += margin, y0 += margin, x1 -= margin, y1 -= margin;
  const auto ok = [&](int32_t j) {
    const auto [x, y] = point_of(r, j + t);
    return x >= x0 && x < x1 && y >= y0 && y < y1;
  };
  // The denominator is positive: each side is a linear bound, s (m j + b) >= 0.
  double low = 0, high = w;
  const auto limit = [&](double s, double m, double b, double bound) {
    const double slope = s * (m - bound * r.mw), value = s * (b - bound * r.bw) + slope * t;
    if (slope > 0) low = std::max(low, -value / slope);
    if (slope < 0) high = std::min(high, -value / slope);
    if (slope == 0 && value < 0) high = -1;
  };
  limit(1, r.mx, r.bx, x0);
  limit(-1, r.mx, r.bx, x1);
  limit(1, r.my, r.by, y0);
  limit(-1, r.my, r.by, y1);
  if (!(low < high)) return {};
  Run in{std::clamp(static_cast<int32_t>(std::ceil(low)) - 1, 0, w), std::clamp(static_cast<int32_t>(std::floor(high)) + 2, 0, w)};
  while (in.from < in.to && !ok(in.from)) ++in.from;
  while (in.from < in.to && !ok(in.to - 1)) --in.to;
  return in.empty() ? Run{} : in;
}

/// Rows of a map for the sample lines of output row i.
struct Lines {
  detail::WarpRow row[2];
  Lines(const Matrix& m, int32_t i, int32_t samples) {
    for (int32_t k = 0; k < samples; ++k) {
      const double y = i + (samples == 1 ? 0.5 : k == 0 ? 0.25 : 0.75);
      row[k] = {m[0], m[1] * y + m[2], m[3], m[4] * y + m[5]};
      if (m[6] == 0 && m[7] == 0) continue;
      row[k].mw = m[6];
      row[k].bw = m[7] * y + m[8];
      if (row[k].bw < 0) row[k] = {-row[k].mx, -row[k].bx, -row[k].my, -row[k].by, -row[k].mw, -row[k].bw};
    }
  }

  /// Pixels all of whose samples lie in the rectangle.
  Run in(int32_t samples, double x0, double x1, double y0, double y1, int32_t w) const {
    Run run{0, w};
    for (int32_t sy = 0; sy < samples; ++sy) {
      for (int32_t sx = 0; sx < samples; ++sx) {
        run = both(run, points_in(row[sy], samples == 1 ? 0.5 : sx == 0 ? 0.25 : 0.75, x0, x1, y0, y1, w));
      }
    }
    return run.empty() ? Run{} : run;
  }
};

/// Pixels of a run from the source pixels that hold their middles.
void nearest_span(ImageView source, const detail::WarpRow& r, int32_t left, int32_t top, Run run, uint8_t* row) {
  const int32_t c = source.c;
  uint8_t* out = row + static_cast<ptrdiff_t>(run.from) * c;
  for (int32_t j = run.from; j < run.to; ++j, out += c) {
    const auto [x, y] = point_of(r, j + 0.5);
    // Not negative: truncation is the floor.
    const uint8_t* p = source.row_u8(static_cast<int32_t>(y) - top) + static_cast<ptrdiff_t>(static_cast<int32_t>(x) - left) * c;
    for (int32_t q = 0; q < c; ++q) out[q] = p[q];
  }
}

/// Makes the source small enough for 2x2 samples; steps[0] then leads to it.
void shrink(ImageView& source, int32_t& top, int32_t& left, double factor, WarpScratch& s) {
  const WarpSource part = warp_source(s.steps);
  const int32_t w = part.x1 - part.x0, h = part.y1 - part.y0;
  const int32_t new_w = std::max(1, static_cast<int32_t>(std::ceil(w * factor)));
  const int32_t new_h = std::max(1, static_cast<int32_t>(std::ceil(h * factor)));
  s.small.reset(new_h, new_w, source.c);
  resize_into(source.crop(part.y0 - top, part.x0 - left, h, w), s.small.view(), {}, s.resize);
  const double fx = static_cast<double>(new_w) / w, fy = static_cast<double>(new_h) / h;
  WarpStep& first = s.steps[0];
  first.g = multiply({fx, 0, -part.x0 * fx, 0, fy, -part.y0 * fy, 0, 0, 1}, first.g);
  first.in_h = new_h;
  first.in_w = new_w;
  source = s.small.view();
  top = left = 0;
}

/// The rows of a warp, one after the other. What a row sees of the source and of nothing else is made in runs, by vectors; the
/// other pixels one by one.
class RowMaker {
 public:
  RowMaker(ImageView source, int32_t top, int32_t left, std::span<const WarpStep> steps, const Matrix& m, int32_t samples,
           Interpolation interpolation, Image& out, WarpScratch& scratch)
      : source_(source),
        top_(top),
        left_(left),
        steps_(steps),
        m_(m),
        samples_(samples),
        nearest_(interpolation == Interpolation::nearest),
        cubic_(interpolation == Interpolation::bicubic),
        // Off the right edge: a tap and its neighbour are read as eight bytes, or four. The cubic's taps reach one pixel further.
        reach_(nearest_ ? 0 : cubic_ ? 1.5 : 0.5),
        behind_(nearest_ || source.c == 4 ? 0 : source.c == 1 ? 2 : 1),
        first_(border_step(steps)),
        sample_(source, top, left, steps[0].in_h, steps[0].in_w, steps[first_].border, steps[first_].fill, interpolation),
        out_(out),
        xs_(scratch.xs),
        ys_(scratch.ys) {
    const bool linear = all_linear(steps);
    for (size_t k = first_ + 1; k < steps.size(); ++k) checked_ = checked_ || may_leave(steps, k);
    simple_ = linear && !checked_;
    lines_ = linear && steps.size() - first_ - 1 <= onwards_.size();
    for (size_t k = first_ + 1; lines_ && k < steps.size(); ++k) onwards_[k - first_ - 1] = detail::product(steps.subspan(k));
  }

  void make(int32_t i) {
    if (lines_) {
      make_lines(i);
    } else if (samples_ == 1 && !nearest_) {
      make_points(i);
    } else {
      for (int32_t j = 0; j < out_.w(); ++j) make_pixel(i, j);
    }
  }

 private:
  uint8_t* pixel(int32_t i, int32_t j) { return out_.row_u8(i) + static_cast<ptrdiff_t>(j) * source_.c; }

  void paint(uint8_t* p, const std::array<uint8_t, 3>& fill) const {
    for (int32_t q = 0; q < source_.c; ++q) p[q] = q == 3 ? uint8_t{255} : fill[static_cast<size_t>(q)];
  }

  void store(const float* v, uint8_t* p) const {
    for (int32_t q = 0; q < source_.c; ++q) p[q] = rounded(v[q]);
  }

  /// The source of a point, or the fill colour of the step that paints it.
  const std::array<uint8_t, 3>* locate(double x, double y, double& sx, double& sy) const {
    if (simple_) {
      const auto p = map_point(m_, x, y);
      sx = p[0];
      sy = p[1];
      return nullptr;
    }
    for (size_t k = steps_.size(); k-- > 0;) {
      const auto p = steps_[k].source_of(x, y);
      x = p[0];
      y = p[1];
      if (k <= first_) continue;
      const WarpStep& step = steps_[k];
      if (x >= 0 && x < step.in_w && y >= 0 && y < step.in_h) continue;
      if (step.border == Border::constant) return &step.fill;
      x = detail::fold_point(x, step.in_w, step.border);
      y = detail::fold_point(y, step.in_h, step.border);
    }
    sx = x;
    sy = y;
    return nullptr;
  }

  /// A map that is one matrix: each row is a line on the source.
  void make_lines(int32_t i) {
    const int32_t w = out_.w();
    const Lines lines(m_, i, samples_);
    Run inside = lines.in(samples_, left_ + reach_, left_ + source_.w - behind_ - reach_, top_ + reach_, top_ + source_.h - reach_, w);
    for (size_t k = first_ + 1; checked_ && k < steps_.size(); ++k) {
      inside = both(inside, Lines(onwards_[k - first_ - 1], i, samples_).in(samples_, 0, steps_[k].in_w, 0, steps_[k].in_h, w));
    }
    if (inside.empty()) {
      inside = {};
    } else if (nearest_) {
      nearest_span(source_, lines.row[0], left_, top_, inside, out_.row_u8(i));
    } else {
      (cubic_ ? detail::warp_cubic_span : detail::warp_span)(source_.row_u8(0), source_.stride, source_.c, lines.row, samples_, left_,
                                                             top_, inside.from, inside.to - inside.from, pixel(i, inside.from));
    }
    Run seen{0, w};
    const WarpStep& edge = steps_[first_];
    if (simple_ && edge.border == Border::constant) {
      // Where no tap lies on the source. Samples beside a pixel's middle lie less than a source pixel from its own.
      const double far = reach_ + (samples_ == 1 ? 1e-3 : 1);
      seen = Lines(m_, i, 1).in(1, -far, steps_[0].in_w + far, -far, steps_[0].in_h + far, w);
      if (samples_ > 1) seen = {std::max(0, seen.from - 1), std::min(w, seen.to + 1)};
    }
    for (int32_t j = 0; j < w; ++j) {
      if (j == inside.from && inside.from < inside.to) {
        j = inside.to - 1;
      } else if (j < seen.from || j >= seen.to) {
        paint(pixel(i, j), edge.fill);
      } else {
        make_pixel(i, j);
      }
    }
  }

  /// Any map, one sample a pixel: the points first.
  void make_points(int32_t i) {
    const int32_t w = out_.w();
    xs_.resize(static_cast<size_t>(w));
    ys_.resize(static_cast<size_t>(w));
    for (int32_t j = 0; j < w; ++j) {
      double &x = xs_[static_cast<size_t>(j)], &y = ys_[static_cast<size_t>(j)];
      if (const auto* fill = locate(j + 0.5, i + 0.5, x, y)) {
        paint(pixel(i, j), *fill);
        x = std::numeric_limits<double>::quiet_NaN();
      }
    }
    const double x0 = left_ + reach_, x1 = left_ + source_.w - behind_ - reach_, y0 = top_ + reach_, y1 = top_ + source_.h - reach_;
    const auto inside = [&](int32_t j) {
      const double x = xs_[static_cast<size_t>(j)], y = ys_[static_cast<size_t>(j)];
      return x >= x0 && x < x1 && y >= y0 && y < y1;
    };
    for (int32_t j = 0; j < w; ++j) {
      int32_t to = j;
      while (to < w && inside(to)) ++to;
      if (to > j) {
        (cubic_ ? detail::warp_cubic_points : detail::warp_points)(source_.row_u8(0), source_.stride, source_.c, &xs_[static_cast<size_t>(j)],
                                                                   &ys_[static_cast<size_t>(j)], left_, top_, to - j, pixel(i, j));
        j = to - 1;
      } else if (!std::isnan(xs_[static_cast<size_t>(j)])) {
        float v[4];
        sample_(xs_[static_cast<size_t>(j)], ys_[static_cast<size_t>(j)], v);
        store(v, pixel(i, j));
      }
    }
  }

  void make_pixel(int32_t i, int32_t j) {
    double x = 0, y = 0;
    if (!simple_) {
      if (const auto* fill = locate(j + 0.5, i + 0.5, x, y)) return paint(pixel(i, j), *fill);
    }
    float v[4];
    if (samples_ == 1) {
      if (simple_) locate(j + 0.5, i + 0.5, x, y);
      sample_(x, y, v);
      return store(v, pixel(i, j));
    }
    float sum[4] = {};
    for (const double dy : {0.25, 0.75}) {
      for (const double dx : {0.25, 0.75}) {
        if (const auto* fill = locate(j + dx, i + dy, x, y)) {
          for (size_t q = 0; q < 4; ++q) v[q] = q == 3 ? 255.0F : (*fill)[q];
        } else {
          sample_(x, y, v);
        }
        for (int32_t q = 0; q < source_.c; ++q) sum[q] += v[q];
      }
    }
    for (float& q : sum) q *= 0.25F;
    store(sum, pixel(i, j));
  }

  ImageView source_;
  int32_t top_, left_;
  std::span<const WarpStep> steps_;
  Matrix m_;
  int32_t samples_;
  bool nearest_, cubic_;
  double reach_;
  int32_t behind_;
  size_t first_;  // its border is the source's
  Sampler sample_;
  Image& out_;
  std::vector<double>&xs_, &ys_;
  /// checked: points may leave a canvas behind the first; simple: none does, and all is one matrix.
  bool checked_ = false, simple_ = false, lines_ = false;
  std::array<Matrix, 16> onwards_;
};

}  // namespace

WarpSource warp_source(std::span<const WarpStep> steps) {
  const WarpStep& first = steps.front();
  const WarpSource all{0, 0, first.in_w, first.in_h};
  if (!all_linear(steps)) return all;
  for (const WarpStep& step : steps) {
    if (step.border != Border::constant) return all;
  }
  const Matrix m = detail::product(steps);
  const WarpStep& last = steps.back();
  double x0 = 1e18, x1 = -1e18, y0 = 1e18, y1 = -1e18;
  for (const double x : {0.0, 1.0 * last.out_w}) {
    for (const double y : {0.0, 1.0 * last.out_h}) {
      const auto p = map_point(m, x, y);
      if (!(std::abs(p[0]) < 1e9 && std::abs(p[1]) < 1e9)) return all;
      x0 = std::min(x0, p[0]);
      x1 = std::max(x1, p[0]);
      y0 = std::min(y0, p[1]);
      y1 = std::max(y1, p[1]);
    }
  }
  // Two pixels of bicubic's taps, one for rounding.
  const auto low = [](double v, int32_t n) { return std::clamp(static_cast<int32_t>(std::floor(v)) - 3, 0, n - 1); };
  const auto high = [](double v, int32_t n, int32_t from) {
    return std::clamp(static_cast<int32_t>(std::ceil(v)) + 3, from + 1, n);
  };
  WarpSource out{low(x0, first.in_w), low(y0, first.in_h), 0, 0};
  out.x1 = high(x1, first.in_w, out.x0);
  out.y1 = high(y1, first.in_h, out.y0);
  return out;
}

void warp(ImageView source, int32_t top, int32_t left, std::span<const WarpStep> given, const WarpOptions& options,
          Image& out, WarpScratch& scratch) {
  check(source.dtype == DType::u8, "warp", "pixels must be u8, got ", to_string(source.dtype));
  scratch.steps.assign(given.begin(), given.end());
  std::span<WarpStep> steps = scratch.steps;
  const int32_t h = steps.back().out_h, w = steps.back().out_w;
  out.reset(h, w, source.c);
  Matrix m = detail::product(steps);
  check_perspective(m, h, w);
  int samples = 1;
  if (options.antialias && options.interpolation != Interpolation::nearest) {
    const double s = detail::stretch(m, h, w);
    if (s > 2) {
      shrink(source, top, left, 2 / s, scratch);
      m = detail::product(steps);
    }
    samples = s > 1.1 ? 2 : 1;
  }
  RowMaker rows(source, top, left, steps, m, samples, options.interpolation, out, scratch);
  for (int32_t i = 0; i < h; ++i) rows.make(i);
}

Image warp(ImageView source, const Matrix& inverse, int32_t h, int32_t w, const WarpOptions& options, Border border,
           std::array<uint8_t, 3> fill) {
  WarpStep step;
  step.g = inverse;
  step.in_h = source.h;
  step.in_w = source.w;
  step.out_h = h;
  step.out_w = w;
  step.border = border;
  step.fill = fill;
  Image out;
  WarpScratch scratch;
  warp(source, 0, 0, {&step, 1}, options, out, scratch);
  return out;
}

}  // namespace ballast
