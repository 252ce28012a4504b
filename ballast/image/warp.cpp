#include <ballast/image/warp.h>

#include <algorithm>
#include <array>
#include <cmath>

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
  const int32_t h = steps.back().out_h, w = steps.back().out_w, c = source.c;
  out.reset(h, w, c);
  const bool linear = all_linear(steps);
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
  const size_t first = border_step(steps);
  const WarpStep& edge = steps[first];
  bool checked = false, constant = true;
  for (size_t k = first + 1; k < steps.size(); ++k) {
    checked = checked || may_leave(steps, k);
    constant = constant && steps[k].border == Border::constant;
  }
  const Sampler sample(source, top, left, steps[0].in_h, steps[0].in_w, edge.border, edge.fill, options.interpolation);
  const bool simple = linear && !checked;
  // The pixels of a row that see nothing but the source are one run, and so are those that see some of it.
  const bool nearest = options.interpolation == Interpolation::nearest;
  const bool cubic = options.interpolation == Interpolation::bicubic;
  std::array<Matrix, 16> onwards;
  const bool few = steps.size() - first - 1 <= onwards.size();
  for (size_t k = first + 1; linear && few && k < steps.size(); ++k) onwards[k - first - 1] = detail::product(steps.subspan(k));
  // The source of a point, or the fill colour of the step that paints it.
  const auto locate = [&](double x, double y, double& sx, double& sy) -> const std::array<uint8_t, 3>* {
    if (simple) {
      const auto p = map_point(m, x, y);
      sx = p[0];
      sy = p[1];
      return nullptr;
    }
    for (size_t k = steps.size(); k-- > 0;) {
      const auto p = steps[k].source_of(x, y);
      x = p[0];
      y = p[1];
      if (k <= first) continue;
      const WarpStep& step = steps[k];
      if (x >= 0 && x < step.in_w && y >= 0 && y < step.in_h) continue;
      if (step.border == Border::constant) return &step.fill;
      x = detail::fold_point(x, step.in_w, step.border);
      y = detail::fold_point(y, step.in_h, step.border);
    }
    sx = x;
    sy = y;
    return nullptr;
  };
  for (int32_t i = 0; i < h; ++i) {
    uint8_t* row = out.row_u8(i);
    Run inside, seen{0, w};
    if (linear && few) {
      const Lines lines(m, i, samples);
      // Off the right edge: a tap and its neighbour are read as eight bytes, or four. The cubic's taps reach one pixel further.
      const double reach = nearest ? 0 : cubic ? 1.5 : 0.5, behind = c == 1 ? 2 : c == 3 ? 1 : 0;
      inside = nearest ? lines.in(1, left, left + source.w, top, top + source.h, w)
                       : lines.in(samples, left + reach, left + source.w - behind - reach, top + reach, top + source.h - reach, w);
      for (size_t k = first + 1; checked && k < steps.size(); ++k) {
        inside = both(inside, Lines(onwards[k - first - 1], i, samples).in(samples, 0, steps[k].in_w, 0, steps[k].in_h, w));
      }
      if (inside.empty()) {
        inside = {};
      } else if (nearest) {
        nearest_span(source, lines.row[0], left, top, inside, row);
      } else {
        (cubic ? detail::warp_cubic_span : detail::warp_span)(source.row_u8(0), source.stride, c, lines.row, samples, left, top,
                                                              inside.from, inside.to - inside.from,
                                                              row + static_cast<ptrdiff_t>(inside.from) * c);
      }
      if (simple && edge.border == Border::constant) {
        // Where no tap lies on the source. Samples beside a pixel's middle lie less than a source pixel from its own.
        const double far = reach + (samples == 1 ? 1e-3 : 1);
        seen = Lines(m, i, 1).in(1, -far, steps[0].in_w + far, -far, steps[0].in_h + far, w);
        if (samples > 1) seen = {std::max(0, seen.from - 1), std::min(w, seen.to + 1)};
      }
    }
    for (int32_t j = 0; j < w; ++j, row += c) {
      if (j == inside.from && inside.from < inside.to) {
        const int32_t skip = inside.to - inside.from;
        j += skip - 1;
        row += static_cast<ptrdiff_t>(skip - 1) * c;
        continue;
      }
      if (j < seen.from || j >= seen.to) {
        for (int32_t q = 0; q < c; ++q) row[q] = q == 3 ? uint8_t{255} : edge.fill[static_cast<size_t>(q)];
        continue;
      }
      double sx = 0, sy = 0;
      if (!simple) {
        if (const auto* fill = locate(j + 0.5, i + 0.5, sx, sy)) {
          for (int32_t q = 0; q < c; ++q) row[q] = q == 3 ? uint8_t{255} : (*fill)[static_cast<size_t>(q)];
          continue;
        }
      }
      float v[4];
      if (samples == 1) {
        if (simple) locate(j + 0.5, i + 0.5, sx, sy);
        sample(sx, sy, v);
      } else {
        float sum[4] = {};
        for (const double dy : {0.25, 0.75}) {
          for (const double dx : {0.25, 0.75}) {
            if (const auto* fill = locate(j + dx, i + dy, sx, sy)) {
              for (int32_t q = 0; q < c; ++q) v[q] = q == 3 ? 255.0F : (*fill)[static_cast<size_t>(q)];
            } else {
              sample(sx, sy, v);
            }
            for (int32_t q = 0; q < c; ++q) sum[q] += v[q];
          }
        }
        for (int32_t q = 0; q < c; ++q) v[q] = sum[q] * 0.25F;
      }
      for (int32_t q = 0; q < c; ++q) row[q] = rounded(v[q]);
    }
  }
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
