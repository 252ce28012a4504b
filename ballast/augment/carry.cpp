#include <ballast/augment/carry.h>

#include <algorithm>
#include <cmath>

#include <ballast/base/check.h>

namespace ballast {

void check_targets(const TargetOptions& o) {
  const BoxOptions& b = o.boxes;
  check(b.min_side >= 0, "boxes", "min_side must be >= 0, got ", b.min_side);
  check(b.min_area >= 0, "boxes", "min_area must be >= 0, got ", b.min_area);
  check(b.min_visibility >= 0 && b.min_visibility <= 1, "boxes", "min_visibility must be in [0, 1], got ", b.min_visibility);
  check(b.max_aspect >= 1, "boxes", "max_aspect must be >= 1, got ", b.max_aspect);
}

namespace detail {

namespace {

using Point = std::array<double, 2>;
using Polygon = std::vector<Point>;

/// From the canvas before a step to its own.
class Forward {
 public:
  explicit Forward(const WarpStep& step) : step_(step), inverse_(invert(step.g)) {}

  Point operator()(const Point& p) const {
    Point q = map_point(inverse_, p[0], p[1]);
    if (step_.radial != 0) q = unbend(q);
    if (step_.field != nullptr) {
      const Point to = q;
      for (int i = 0; i < 5; ++i) {
        const auto d = step_.field->at(q[0], q[1]);
        q = {to[0] - d[0], to[1] - d[1]};
      }
    }
    return q;
  }

  /// Derivative: x by x, x by y, y by x, y by y.
  std::array<double, 4> derivative(const Point& p) const {
    const Point a = (*this)({p[0] - 0.5, p[1]}), b = (*this)({p[0] + 0.5, p[1]});
    const Point c = (*this)({p[0], p[1] - 0.5}), d = (*this)({p[0], p[1] + 0.5});
    return {b[0] - a[0], d[0] - c[0], b[1] - a[1], d[1] - c[1]};
  }

 private:
  /// Solves r (1 + k r^2) = s on the branch through 0; what the picture does not show goes far outside.
  Point unbend(const Point& q) const {
    const double cx = step_.out_w / 2.0, cy = step_.out_h / 2.0, unit = std::sqrt(cx * cx + cy * cy);
    const double dx = q[0] - cx, dy = q[1] - cy, s = std::sqrt(dx * dx + dy * dy) / unit, k = step_.radial;
    if (s == 0) return q;
    double low = 0, high = k < 0 ? 1 / std::sqrt(-3 * k) : s;
    const auto f = [&](double r) { return r * (1 + k * r * r); };
    double r = 10 * (1 + s);
    if (f(high) >= s) {
      for (int i = 0; i < 60; ++i) {
        const double middle = (low + high) / 2;
        (f(middle) < s ? low : high) = middle;
      }
      r = (low + high) / 2;
    }
    return {cx + dx * r / s, cy + dy * r / s};
  }

  const WarpStep& step_;
  Matrix inverse_;
};

double area(const Polygon& p) {
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const Point &a = p[i], &b = p[(i + 1) % p.size()];
    sum += a[0] * b[1] - a[1] * b[0];
  }
  return std::abs(sum) / 2;
}

/// The part of p with side(point) >= 0 (Sutherland-Hodgman).
void clip_half(Polygon& p, int axis, double bound, double sign, Polygon& out) {
  out.clear();
  const auto side = [&](const Point& q) { return sign * (q[static_cast<size_t>(axis)] - bound); };
  for (size_t i = 0; i < p.size(); ++i) {
    const Point &a = p[i], &b = p[(i + 1) % p.size()];
    const double da = side(a), db = side(b);
    if (da >= 0) out.push_back(a);
    if ((da > 0 && db < 0) || (da < 0 && db > 0)) {
      const double t = da / (da - db);
      out.push_back({a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])});
    }
  }
  std::swap(p, out);
}

void clip_to(Polygon& p, double w, double h) {
  Polygon room;
  clip_half(p, 0, 0, 1, room);
  clip_half(p, 0, w, -1, room);
  clip_half(p, 1, 0, 1, room);
  clip_half(p, 1, h, -1, room);
}

std::array<double, 4> hull(const Polygon& p) {
  std::array<double, 4> b = {p[0][0], p[0][1], p[0][0], p[0][1]};
  for (const Point& q : p) {
    b = {std::min(b[0], q[0]), std::min(b[1], q[1]), std::max(b[2], q[0]), std::max(b[3], q[1])};
  }
  return b;
}

/// A box on its way: what is seen of it, and all of it.
struct Carried {
  Polygon seen, whole;
  bool lost = false;
};

Carried start(const std::array<double, 4>& b, bool bends, int32_t h, int32_t w) {
  Carried out;
  const Point corners[4] = {{b[0], b[1]}, {b[2], b[1]}, {b[2], b[3]}, {b[0], b[3]}};
  const int n = bends ? 8 : 1;
  for (int side = 0; side < 4; ++side) {
    const Point &a = corners[side], &z = corners[(side + 1) % 4];
    for (int i = 0; i < n; ++i) {
      const double t = 1.0 * i / n;
      out.whole.push_back({a[0] + t * (z[0] - a[0]), a[1] + t * (z[1] - a[1])});
    }
  }
  out.seen = out.whole;
  clip_to(out.seen, w, h);
  out.lost = out.seen.size() < 3;
  return out;
}

void move(const GeometryStep& g, const Forward& forward, const BoxOptions& options, Carried& box) {
  if (box.lost) return;
  if (g.keeps_centres) {
    const auto b = hull(box.seen);
    const double cx = (b[0] + b[2]) / 2, cy = (b[1] + b[3]) / 2;
    if (!(cx > g.left && cx < g.left + g.step.out_w && cy > g.top && cy < g.top + g.step.out_h)) {
      box.lost = true;
      return;
    }
  }
  for (Polygon* p : {&box.seen, &box.whole}) {
    for (Point& q : *p) q = forward(q);
  }
  const double before = area(box.seen);
  clip_to(box.seen, g.step.out_w, g.step.out_h);
  box.lost = box.seen.size() < 3;
  if (!box.lost && options.visibility_of == BoxOptions::VisibilityOf::step) {
    box.lost = area(box.seen) < options.min_visibility * before * (1 - 1e-9);
  }
}

bool bends(std::span<const GeometryStep> steps) {
  return std::any_of(steps.begin(), steps.end(), [](const GeometryStep& g) { return !g.step.linear(); });
}

std::vector<Carried> carry_all(std::span<const GeometryStep> steps, const std::vector<std::array<double, 4>>& boxes,
                               const BoxOptions& options, int32_t h, int32_t w) {
  std::vector<Carried> out;
  const bool bend = bends(steps);
  for (const auto& b : boxes) out.push_back(start(b, bend, h, w));
  for (const GeometryStep& g : steps) {
    const Forward forward(g.step);
    for (Carried& box : out) move(g, forward, options, box);
  }
  return out;
}

/// Source pixels of an axis-aligned chain: indices along one side of the result, -1 outside.
struct AxisIndex {
  std::vector<int32_t> at;
  bool rows = false;  // they count rows of the source
};

AxisIndex axis_index(std::span<const GeometryStep> steps, bool rows) {
  const WarpStep& last = steps.back().step;
  AxisIndex out;
  out.at.resize(static_cast<size_t>(rows ? last.out_h : last.out_w));
  for (size_t i = 0; i < out.at.size(); ++i) {
    double t = static_cast<double>(i) + 0.5;
    bool on_rows = rows, outside = false;
    for (size_t k = steps.size(); k-- > 0 && !outside;) {
      const WarpStep& step = steps[k].step;
      if (steps[k].kind == GeometryStep::Kind::transpose) {
        on_rows = !on_rows;
        continue;
      }
      t = on_rows ? step.g[4] * t + step.g[5] : step.g[0] * t + step.g[2];
      const int32_t n = on_rows ? step.in_h : step.in_w;
      if (t >= 0 && t < n) continue;
      outside = step.border == Border::constant && !step.onto;
      if (!outside) t = step.onto ? std::clamp(t, 0.0, n - 0.5) : fold_point(t, n, step.border);
    }
    out.at[i] = outside ? -1 : static_cast<int32_t>(std::floor(t));
    out.rows = on_rows;
  }
  return out;
}

/// Nearest through all steps at once.
template <class T>
void resample_ids(std::span<const GeometryStep> steps, const Image& in, T ignore, Image& out) {
  const WarpStep& last = steps.back().step;
  out.reset(last.out_h, last.out_w, 1, in.dtype());
  const auto pixel = [](const Image& image, int32_t y, int32_t x) -> T& {
    return reinterpret_cast<T*>(image.view().row(y))[x];
  };
  const bool straight = std::none_of(steps.begin(), steps.end(),
                                     [](const GeometryStep& g) { return g.kind == GeometryStep::Kind::warp; });
  if (straight) {
    const AxisIndex y = axis_index(steps, true), x = axis_index(steps, false);
    for (int32_t i = 0; i < out.h(); ++i) {
      for (int32_t j = 0; j < out.w(); ++j) {
        const int32_t a = y.at[static_cast<size_t>(i)], b = x.at[static_cast<size_t>(j)];
        pixel(out, i, j) = a < 0 || b < 0 ? ignore : y.rows ? pixel(in, a, b) : pixel(in, b, a);
      }
    }
    return;
  }
  for (int32_t i = 0; i < out.h(); ++i) {
    for (int32_t j = 0; j < out.w(); ++j) {
      double x = j + 0.5, y = i + 0.5;
      bool outside = false;
      for (size_t k = steps.size(); k-- > 0 && !outside;) {
        const WarpStep& step = steps[k].step;
        const auto p = step.source_of(x, y);
        x = p[0];
        y = p[1];
        if (x >= 0 && x < step.in_w && y >= 0 && y < step.in_h) continue;
        outside = step.border == Border::constant && !step.onto;
        if (step.onto) {
          x = std::clamp(x, 0.0, step.in_w - 0.5);
          y = std::clamp(y, 0.0, step.in_h - 0.5);
        } else if (!outside) {
          x = fold_point(x, step.in_w, step.border);
          y = fold_point(y, step.in_h, step.border);
        }
      }
      pixel(out, i, j) =
          outside ? ignore : pixel(in, static_cast<int32_t>(std::floor(y)), static_cast<int32_t>(std::floor(x)));
    }
  }
}

template <class T>
void carry_typed(const Plan& plan, bool each, Mask& mask) {
  Image next;
  size_t done = 0;
  const auto until = [&](size_t end) {
    while (done < end) {
      const size_t n = each ? 1 : end - done;
      resample_ids<T>({plan.geometry.data() + done, n}, mask.px, static_cast<T>(mask.ignore), next);
      mask.px.swap(next);
      done += n;
    }
  };
  for (const Erasure& e : plan.erasures) {
    if (e.mask_value < 0) continue;
    until(e.behind);
    for (int32_t y = std::max(0, e.y); y < std::min(mask.px.h(), e.y + e.h); ++y) {
      for (int32_t x = std::max(0, e.x); x < std::min(mask.px.w(), e.x + e.w); ++x) {
        if (e.covers(x, y)) reinterpret_cast<T*>(mask.px.view().row(y))[x] = static_cast<T>(e.mask_value);
      }
    }
  }
  until(plan.geometry.size());
}

}  // namespace

std::vector<std::array<double, 4>> carry_corners(std::span<const GeometryStep> steps,
                                                 const std::vector<std::array<double, 4>>& boxes) {
  if (steps.empty()) return boxes;
  std::vector<std::array<double, 4>> out;
  for (const Carried& box : carry_all(steps, boxes, {}, steps[0].step.in_h, steps[0].step.in_w)) {
    if (!box.lost) out.push_back(hull(box.seen));
  }
  return out;
}

std::vector<int64_t> valid_boxes(const Boxes& b, int32_t h, int32_t w, const BoxOptions& options, std::string_view name) {
  std::vector<int64_t> out;
  for (size_t i = 0; i < b.x1.size(); ++i) {
    const bool finite = std::isfinite(b.x1[i]) && std::isfinite(b.y1[i]) && std::isfinite(b.x2[i]) && std::isfinite(b.y2[i]);
    const bool full = finite && b.x2[i] > b.x1[i] && b.y2[i] > b.y1[i];
    const bool touches = full && b.x1[i] < static_cast<float>(w) && b.y1[i] < static_cast<float>(h) && b.x2[i] > 0 && b.y2[i] > 0;
    if (touches) {
      out.push_back(static_cast<int64_t>(i));
      continue;
    }
    check(options.invalid == BoxOptions::Invalid::drop, "sample", "box ", i, " ", full ? "lies outside of the " : "must be finite with x1 < x2, y1 < y2 in the ",
          h, "x", w, " image, got [", b.x1[i], ", ", b.y1[i], ", ", b.x2[i], ", ", b.y2[i], "]",
          name.empty() ? "" : " (" + std::string(name) + ")");
  }
  return out;
}

void carry_boxes(std::span<const GeometryStep> steps, const BoxOptions& options, int32_t h, int32_t w, Boxes& boxes) {
  std::vector<std::array<double, 4>> corners;
  for (size_t i = 0; i < boxes.x1.size(); ++i) corners.push_back({boxes.x1[i], boxes.y1[i], boxes.x2[i], boxes.y2[i]});
  const std::vector<Carried> all = carry_all(steps, corners, options, h, w);
  std::vector<int64_t> kept;
  // Corners are floats: the least that they say must not cost a box.
  const auto at_least = [](double v, double bound) { return v >= bound * (1 - 1e-6); };
  for (size_t i = 0; i < all.size(); ++i) {
    const Carried& box = all[i];
    if (box.lost) continue;
    const auto seen = hull(box.seen);
    const double width = seen[2] - seen[0], height = seen[3] - seen[1];
    const bool original = options.visibility_of == BoxOptions::VisibilityOf::original;
    const bool keep = width > 0 && height > 0 && at_least(width, options.min_side) && at_least(height, options.min_side) &&
                      at_least(width * height, options.min_area) &&
                      std::max(width / height, height / width) <= options.max_aspect * (1 + 1e-6) &&
                      (!original || at_least(area(box.seen), options.min_visibility * area(box.whole)));
    if (!keep) continue;
    const auto b = options.clip ? seen : hull(box.whole);
    boxes.x1[i] = static_cast<float>(b[0]);
    boxes.y1[i] = static_cast<float>(b[1]);
    boxes.x2[i] = static_cast<float>(b[2]);
    boxes.y2[i] = static_cast<float>(b[3]);
    kept.push_back(static_cast<int64_t>(i));
  }
  boxes.keep(kept);
}

void carry_points(std::span<const GeometryStep> steps, const PointOptions& options, int32_t h, int32_t w, Keypoints& points) {
  const auto n = static_cast<size_t>(points.size());
  std::vector<bool> outside(n), mirrored(n);
  std::vector<Point> at(n);
  const auto beyond = [](const Point& p, int32_t height, int32_t width) {
    return !(p[0] >= 0 && p[0] < width && p[1] >= 0 && p[1] < height);
  };
  for (size_t i = 0; i < n; ++i) {
    at[i] = {points.x[i], points.y[i]};
    outside[i] = beyond(at[i], h, w);
  }
  for (const GeometryStep& g : steps) {
    const Forward forward(g.step);
    for (size_t i = 0; i < n; ++i) {
      const auto J = forward.derivative(at[i]);
      at[i] = forward(at[i]);
      outside[i] = outside[i] || beyond(at[i], g.step.out_h, g.step.out_w);
      const double det = J[0] * J[3] - J[1] * J[2], c = std::cos(points.angle[i]), s = std::sin(points.angle[i]);
      points.angle[i] = static_cast<float>(std::atan2(J[2] * c + J[3] * s, J[0] * c + J[1] * s));
      points.scale[i] = static_cast<float>(points.scale[i] * std::sqrt(std::abs(det)));
      if (det < 0) mirrored[i] = !mirrored[i];
    }
  }
  std::vector<int64_t> kept;
  for (size_t i = 0; i < n; ++i) {
    points.x[i] = static_cast<float>(at[i][0]);
    points.y[i] = static_cast<float>(at[i][1]);
    if (outside[i] && options.outside == PointOptions::Outside::hide) points.visible[i] = 0;
    if (mirrored[i]) {
      for (const auto& pair : options.flip_pairs) {
        if (points.label[i] == pair[0] || points.label[i] == pair[1]) {
          points.label[i] = points.label[i] == pair[0] ? pair[1] : pair[0];
          break;
        }
      }
    }
    if (!outside[i] || options.outside != PointOptions::Outside::drop) kept.push_back(static_cast<int64_t>(i));
  }
  points.keep(kept);
}

void carry_ids(const Plan& plan, bool each, Mask& mask) {
  if (mask.px.dtype() == DType::u16) {
    carry_typed<uint16_t>(plan, each, mask);
  } else {
    carry_typed<uint8_t>(plan, each, mask);
  }
}

void forget_instances(const std::vector<bool>& gone, Mask& mask) {
  const bool wide = mask.px.dtype() == DType::u16;
  for (int32_t y = 0; y < mask.px.h(); ++y) {
    auto* bytes = mask.px.row_u8(y);
    auto* words = reinterpret_cast<uint16_t*>(mask.px.view().row(y));
    for (int32_t x = 0; x < mask.px.w(); ++x) {
      const int32_t id = wide ? words[x] : bytes[x];
      if (id == 0 || id == mask.ignore || static_cast<size_t>(id) > gone.size() || !gone[static_cast<size_t>(id - 1)]) continue;
      if (wide) {
        words[x] = 0;
      } else {
        bytes[x] = 0;
      }
    }
  }
}

}  // namespace detail
}  // namespace ballast
