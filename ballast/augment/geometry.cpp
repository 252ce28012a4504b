#include <ballast/augment/geometry.h>

#include <algorithm>
#include <cmath>

#include <ballast/base/check.h>
#include <ballast/base/detmath.h>
#include <ballast/image/color.h>

namespace ballast::detail {

namespace {

constexpr double kDegree = 3.14159265358979323846 / 180;
constexpr std::string_view kWarpFilters = "bilinear|nearest|bicubic";

Interpolation warp_filter(const Step& s, size_t i) {
  constexpr std::array<Interpolation, 3> filters = {Interpolation::bilinear, Interpolation::nearest,
                                                    Interpolation::bicubic};
  return filters[static_cast<size_t>(s.whole(i))];
}

/// interpolation, antialias, border, fill: at the end of each warp's arguments.
std::vector<Arg> with_resampling(std::vector<Arg> args) {
  args.push_back(choice_arg("interpolation", kWarpFilters));
  args.push_back(truth_arg("antialias", true));
  args.push_back(border_arg());
  args.push_back(fill_arg());
  return args;
}

Resampling resampling(const Step& s, size_t first, const Planner& plan) {
  return {warp_filter(s, first), s.truth(first + 1), static_cast<Border>(s.whole(first + 2)), fill_of(s, first + 3, plan)};
}

void warp_same(Planner& plan, const Matrix& m, const Resampling& r) {
  plan.warp(m, plan.h(), plan.w(), r.interpolation, r.antialias, r.border, r.fill);
}

void draw_rotate(const Step& s, Key key, Planner& plan) {
  const double degrees = s.uniform(0, key, 1);
  plan.note("rotate", {degrees});
  const double centre[2] = {s.list(2)[0], s.list(2).back()};
  rotate(plan, degrees, resampling(s, 4, plan), s.truth(1), s.values[2].given ? centre : nullptr);
}

void draw_affine(const Step& s, Key key, Planner& plan) {
  const double W = plan.w(), H = plan.h();
  const double a = s.uniform(0, key, 1) * kDegree;
  const double fx = s.list(1).front(), fy = s.list(1).back();
  const double tx = std::nearbyint(fx * W * (2 * slot_uniform(key, 2) - 1));
  const double ty = std::nearbyint(fy * H * (2 * slot_uniform(key, 3) - 1));
  const auto scales = s.range(2);
  double scale = s.uniform(2, key, 4);
  if (s.truth(5) && scales[0] != scales[1]) {
    scale = det_exp(det_log(scales[0]) + (det_log(scales[1]) - det_log(scales[0])) * slot_uniform(key, 4));
  }
  const auto& shear = s.list(3);
  double p = 0, q = 0;
  if (shear.size() == 1) {
    p = shear[0] == 0 ? 0 : shear[0] * (2 * slot_uniform(key, 5) - 1);
  } else {
    p = shear[0] + (shear[1] - shear[0]) * slot_uniform(key, 5);
    if (shear.size() == 4) q = shear[2] + (shear[3] - shear[2]) * slot_uniform(key, 6);
  }
  plan.note("affine", {a / kDegree, tx, ty, scale, p, q});
  p *= kDegree;
  q *= kDegree;
  const double cq = det_cos(q), tp = det_sin(p) / det_cos(p), ca = det_cos(a), sa = det_sin(a);
  const double caq = det_cos(a - q), saq = det_sin(a - q);
  const Matrix A = {scale * caq / cq, scale * (-caq * tp / cq - sa), 0, scale * saq / cq, scale * (-saq * tp / cq + ca), 0,
                    0, 0, 1};
  double cx = W / 2, cy = H / 2;
  if (s.values[4].given) {
    cx = s.list(4)[0];
    cy = s.list(4).back();
  }
  const Matrix forward = multiply(multiply({1, 0, cx + tx, 0, 1, cy + ty, 0, 0, 1}, A), {1, 0, -cx, 0, 1, -cy, 0, 0, 1});
  warp_same(plan, invert(forward), resampling(s, 7, plan));
}

void check_affine(const Step& s) {
  const size_t n = s.list(3).size();
  check(n != 3, "affine", "shear must be 1, 2 or 4 numbers, got 3");
  check(s.range(2)[0] > 0, "affine", "scale must be above 0, got ", s.range(2)[0]);
}

void draw_shear_x(const Step& s, Key key, Planner& plan) {
  const double amount = s.uniform(0, key, 1);
  plan.note("shear_x", {amount});
  shear_x(plan, amount, resampling(s, 2, plan));
}
void draw_shear_y(const Step& s, Key key, Planner& plan) {
  const double amount = s.uniform(0, key, 1);
  plan.note("shear_y", {amount});
  shear_y(plan, amount, resampling(s, 2, plan));
}

int32_t shift_of(const Step& s, Key key, int32_t side) {
  const double pixels = s.values[1].given ? s.uniform(1, key, 1) * side : s.uniform(0, key, 1);
  return static_cast<int32_t>(std::clamp(pixels, -32'000.0, 32'000.0));
}
void draw_translate_x(const Step& s, Key key, Planner& plan) {
  const int32_t d = shift_of(s, key, plan.w());
  plan.note("translate_x", {1.0 * d});
  plan.shift(d, 0, static_cast<Border>(s.whole(3)), fill_of(s, 4, plan));
}
void draw_translate_y(const Step& s, Key key, Planner& plan) {
  const int32_t d = shift_of(s, key, plan.h());
  plan.note("translate_y", {1.0 * d});
  plan.shift(0, d, static_cast<Border>(s.whole(3)), fill_of(s, 4, plan));
}

void draw_perspective(const Step& s, Key key, Planner& plan) {
  const int32_t W = plan.w(), H = plan.h();
  const double d = s.num(0);
  const auto bw = static_cast<uint64_t>(d * (W / 2)) + 1, bh = static_cast<uint64_t>(d * (H / 2)) + 1;
  const auto draw = [&](uint32_t slot, uint64_t n) { return static_cast<double>(slot_below(key, slot, n)); };
  const double w = W, h = H, rw = static_cast<double>(bw), rh = static_cast<double>(bh);
  const double moved[4][2] = {{draw(1, bw), draw(2, bh)},
                              {w - rw + draw(3, bw) + 1, draw(4, bh)},
                              {w - rw + draw(5, bw) + 1, h - rh + draw(6, bh) + 1},
                              {draw(7, bw), h - rh + draw(8, bh) + 1}};
  const double corners[4][2] = {{0, 0}, {w, 0}, {w, h}, {0, h}};
  plan.note("perspective", {moved[0][0], moved[0][1], moved[1][0], moved[1][1], moved[2][0], moved[2][1], moved[3][0],
                            moved[3][1]});
  // Forward: canvas corners go to `moved`; pixels are fetched by the inverse.
  warp_same(plan, homography(moved, corners), resampling(s, 2, plan));
}

/// Uniform in [-1, 1] per pixel.
void uniform_field(Key key, uint32_t slot, std::vector<float>& out, size_t n) {
  FieldWords words(key, slot);
  out.resize(n);
  for (size_t i = 0; i < n; ++i) out[i] = static_cast<float>((static_cast<double>(words(i)) + 0.5) * 0x1p-31 - 1);
}

void blur_field(std::vector<float>& field, int32_t h, int32_t w, double sigma) {
  const int32_t half = static_cast<int32_t>(8 * sigma + 1) / 2;
  std::vector<float> weights(static_cast<size_t>(2 * half + 1)), other(field.size());
  double sum = 0;
  for (int32_t k = -half; k <= half; ++k) sum += det_exp(-k * k / (2 * sigma * sigma));
  for (int32_t k = -half; k <= half; ++k) {
    weights[static_cast<size_t>(k + half)] = static_cast<float>(det_exp(-k * k / (2 * sigma * sigma)) / sum);
  }
  // Taps in order for every value: whole rows at a time, so that the loops are vectors.
  const auto W = static_cast<size_t>(w);
  std::vector<float> padded(W + 2 * static_cast<size_t>(half));
  std::fill(other.begin(), other.end(), 0.0F);
  for (int32_t y = 0; y < h; ++y) {
    const float* in = field.data() + static_cast<size_t>(y) * W;
    float* out = other.data() + static_cast<size_t>(y) * W;
    for (int32_t x = -half; x < w + half; ++x) padded[static_cast<size_t>(x + half)] = in[fold_index(x, w, Border::reflect)];
    for (size_t k = 0; k < weights.size(); ++k) {
      const float weight = weights[k], *from = padded.data() + k;
      for (size_t x = 0; x < W; ++x) out[x] += weight * from[x];
    }
  }
  std::fill(field.begin(), field.end(), 0.0F);
  for (int32_t y = 0; y < h; ++y) {
    float* out = field.data() + static_cast<size_t>(y) * W;
    for (int32_t k = -half; k <= half; ++k) {
      const float weight = weights[static_cast<size_t>(k + half)];
      const float* from = other.data() + static_cast<size_t>(fold_index(int64_t{y} + k, h, Border::reflect)) * W;
      for (size_t x = 0; x < W; ++x) out[x] += weight * from[x];
    }
  }
}

void draw_elastic(const Step& s, Key key, Planner& plan) {
  if (plan.facts().size_only) return;
  auto field = std::make_unique<DisplacementField>();
  field->h = plan.h();
  field->w = plan.w();
  const size_t n = static_cast<size_t>(field->h) * static_cast<size_t>(field->w);
  const auto reach = static_cast<float>(s.num(0) / 2);
  for (const auto& [slot, d] : {std::pair<uint32_t, std::vector<float>*>{1, &field->dx}, {2, &field->dy}}) {
    uniform_field(key, slot, *d, n);
    if (s.num(1) > 0) blur_field(*d, field->h, field->w, s.num(1));
    for (float& v : *d) v *= reach;
  }
  plan.note("elastic", {s.num(0), s.num(1)});
  const Resampling r = resampling(s, 3, plan);
  plan.displace(std::move(field), 0, r.interpolation, r.border, r.fill);
}

void draw_grid_distortion(const Step& s, Key key, Planner& plan) {
  if (plan.facts().size_only) return;
  const int32_t n = s.whole(0), h = plan.h(), w = plan.w();
  const double cell_x = static_cast<double>(w) / n, cell_y = static_cast<double>(h) / n, limit = s.num(1);
  auto field = std::make_unique<DisplacementField>();
  field->h = h;
  field->w = w;
  field->dx.resize(static_cast<size_t>(h) * static_cast<size_t>(w));
  field->dy.resize(field->dx.size());
  // Knot k = row * (n + 1) + column; those on the frame stay, so that the frame does.
  const auto knot = [&](int32_t r, int32_t c, int axis) {
    if (r == 0 || c == 0 || r == n || c == n) return 0.0;
    const auto k = static_cast<uint32_t>(r * (n + 1) + c);
    return (2 * slot_uniform(key, 1 + 2 * k + static_cast<uint32_t>(axis)) - 1) * limit * (axis == 0 ? cell_x : cell_y);
  };
  std::vector<double> knots(static_cast<size_t>((n + 1) * (n + 1) * 2));
  for (int32_t r = 0; r <= n; ++r) {
    for (int32_t c = 0; c <= n; ++c) {
      for (int axis = 0; axis < 2; ++axis) knots[static_cast<size_t>((r * (n + 1) + c) * 2 + axis)] = knot(r, c, axis);
    }
  }
  for (int32_t y = 0; y < h; ++y) {
    const double v = (y + 0.5) / cell_y;
    const int32_t r = std::min(static_cast<int32_t>(v), n - 1);
    for (int32_t x = 0; x < w; ++x) {
      const double u = (x + 0.5) / cell_x;
      const int32_t c = std::min(static_cast<int32_t>(u), n - 1);
      const double tx = u - c, ty = v - r;
      for (int axis = 0; axis < 2; ++axis) {
        const auto at = [&](int32_t i, int32_t j) { return knots[static_cast<size_t>((i * (n + 1) + j) * 2 + axis)]; };
        const double d = (1 - ty) * ((1 - tx) * at(r, c) + tx * at(r, c + 1)) +
                         ty * ((1 - tx) * at(r + 1, c) + tx * at(r + 1, c + 1));
        (axis == 0 ? field->dx : field->dy)[static_cast<size_t>(y) * static_cast<size_t>(w) + static_cast<size_t>(x)] =
            static_cast<float>(d);
      }
    }
  }
  plan.note("grid_distortion", {1.0 * n, limit});
  const Resampling r = resampling(s, 3, plan);
  plan.displace(std::move(field), 0, r.interpolation, r.border, r.fill);
}

void draw_optical_distortion(const Step& s, Key key, Planner& plan) {
  const double k = s.uniform(0, key, 1);
  plan.note("optical_distortion", {k});
  const Resampling r = resampling(s, 2, plan);
  plan.displace(nullptr, k, r.interpolation, r.border, r.fill);
}

}  // namespace

Fill fill_of(const Step& step, size_t arg, const Planner& plan) {
  if (step.values[arg].word == "mean") return plan.facts().mean;
  const auto& v = step.list(arg);
  Fill out;
  for (size_t i = 0; i < 3; ++i) out[i] = static_cast<uint8_t>(v[i % v.size()]);
  return out;
}

void quarter_turns(Planner& plan, int turns) {
  // (x, y) -> (y, W - x): rows and columns change places, then upside down.
  switch (((turns % 4) + 4) % 4) {
    case 1:
      plan.transpose();
      plan.flip_y();
      break;
    case 2:
      plan.flip_x();
      plan.flip_y();
      break;
    case 3:
      plan.transpose();
      plan.flip_x();
      break;
    default: break;
  }
}

void rotate(Planner& plan, double degrees, const Resampling& r, bool expand, const double* centre) {
  const double W = plan.w(), H = plan.h();
  const double quarters = degrees / 90;
  if (centre == nullptr && quarters == std::floor(quarters)) {
    const int turns = static_cast<int>(quarters);
    if (turns % 2 == 0 || expand || W == H) return quarter_turns(plan, turns);
  }
  const double c = det_cos(degrees * kDegree), s = det_sin(degrees * kDegree);
  const double cx = centre != nullptr ? centre[0] : W / 2, cy = centre != nullptr ? centre[1] : H / 2;
  // Forward: x' = cx + c dx + s dy, y' = cy - s dx + c dy.
  double ox = 0, oy = 0;
  int32_t w = plan.w(), h = plan.h();
  if (expand) {
    double x0 = 1e18, x1 = -1e18, y0 = 1e18, y1 = -1e18;
    for (const double dx : {-W / 2, W / 2}) {
      for (const double dy : {-H / 2, H / 2}) {
        const auto cut = [](double v) { return std::trunc(v * 1e4) / 1e4; };
        const double x = cut(c * dx + s * dy), y = cut(-s * dx + c * dy);
        x0 = std::min(x0, x);
        x1 = std::max(x1, x);
        y0 = std::min(y0, y);
        y1 = std::max(y1, y);
      }
    }
    w = static_cast<int32_t>(std::ceil(x1) - std::floor(x0));
    h = static_cast<int32_t>(std::ceil(y1) - std::floor(y0));
    ox = (w - W) / 2;
    oy = (h - H) / 2;
  }
  const double tx = cx + ox, ty = cy + oy;
  const Matrix inverse = {c, -s, cx - c * tx + s * ty, s, c, cy - s * tx - c * ty, 0, 0, 1};
  plan.warp(inverse, h, w, r.interpolation, r.antialias, r.border, r.fill);
}

void shear_x(Planner& plan, double amount, const Resampling& r) {
  if (amount != 0) warp_same(plan, {1, amount, 0, 0, 1, 0, 0, 0, 1}, r);
}
void shear_y(Planner& plan, double amount, const Resampling& r) {
  if (amount != 0) warp_same(plan, {1, 0, 0, amount, 1, 0, 0, 0, 1}, r);
}

Matrix homography(const double (&to)[4][2], const double (&from)[4][2]) {
  // Eight equations in m0..m7, m8 = 1; Gauss with pivots.
  double a[8][9];
  for (int i = 0; i < 4; ++i) {
    const double x = to[i][0], y = to[i][1], u = from[i][0], v = from[i][1];
    const double rows[2][9] = {{x, y, 1, 0, 0, 0, -x * u, -y * u, u}, {0, 0, 0, x, y, 1, -x * v, -y * v, v}};
    std::copy(rows[0], rows[0] + 9, a[2 * i]);
    std::copy(rows[1], rows[1] + 9, a[2 * i + 1]);
  }
  for (int k = 0; k < 8; ++k) {
    int best = k;
    for (int i = k + 1; i < 8; ++i) {
      if (std::abs(a[i][k]) > std::abs(a[best][k])) best = i;
    }
    std::swap(a[k], a[best]);
    check(std::abs(a[k][k]) > 1e-12, "perspective", "the four points must not lie on a line");
    for (int i = 0; i < 8; ++i) {
      if (i == k) continue;
      const double f = a[i][k] / a[k][k];
      for (int j = k; j < 9; ++j) a[i][j] -= f * a[k][j];
    }
  }
  Matrix m;
  for (size_t k = 0; k < 8; ++k) m[k] = a[k][8] / a[k][k];
  m[8] = 1;
  return m;
}

void add_geometry(std::vector<Operation>& out) {
  constexpr auto G = AugmentGroup::geometry;
  constexpr double big = 32'000;
  const Arg center{.name = "center", .kind = ArgKind::numbers, .standard = {0}, .low = -1e6, .high = 1e6,
                   .positional = false, .min_count = 2, .max_count = 2};
  out.push_back({"horizontal_flip", "hflip", 1, G, "mirrors left to right with probability p", true, {p_arg(0.5, true)},
                 [](const Step&, Key, Planner& plan) { plan.note("hflip"); plan.flip_x(); }});
  out.push_back({"vertical_flip", "vflip", 2, G, "mirrors top to bottom with probability p", true, {p_arg(0.5, true)},
                 [](const Step&, Key, Planner& plan) { plan.note("vflip"); plan.flip_y(); }});
  out.push_back({"transpose", "", 3, G, "rows and columns change places", true, {p_arg(1)},
                 [](const Step&, Key, Planner& plan) { plan.note("transpose"); plan.transpose(); }});
  out.push_back({"rotate90", "", 4, G, "quarter turns counter-clockwise; k=any draws 0..3", true,
                 {choice_arg("k", "any|0|1|2|3"), p_arg()},
                 [](const Step& s, Key key, Planner& plan) {
                   const int k = s.whole(0) == 0 ? static_cast<int>(slot_below(key, 1, 4)) : s.whole(0) - 1;
                   plan.note("rotate90", {1.0 * k});
                   quarter_turns(plan, k);
                 }});
  out.push_back({"d4", "", 5, G, "one of the eight flips and turns of a square", true, {p_arg()},
                 [](const Step&, Key key, Planner& plan) {
                   const auto g = static_cast<int>(slot_below(key, 1, 8));
                   plan.note("d4", {1.0 * g});
                   quarter_turns(plan, g % 4);
                   if (g >= 4) plan.flip_x();
                 }});
  std::vector<Arg> rotate_args = {range_arg("degrees", {}, -360, 360, Widen::symmetric), truth_arg("expand", false), center,
                                  p_arg()};
  rotate_args[0].required = true;
  out.push_back({"rotate", "rot", 6, G, "turns counter-clockwise by degrees drawn from a range", true,
                 with_resampling(rotate_args), draw_rotate});
  Arg translate{.name = "translate", .kind = ArgKind::numbers, .standard = {0}, .low = 0, .high = 1, .max_count = 2};
  Arg shear{.name = "shear", .kind = ArgKind::numbers, .standard = {0}, .low = -89, .high = 89, .max_count = 4};
  out.push_back({"affine", "", 7, G, "turn (clockwise), translation, scale and shear as one map", true,
                 with_resampling({range_arg("degrees", {0}, -360, 360, Widen::symmetric), translate,
                                  range_arg("scale", {1}, 0, 1000, Widen::fixed), shear, center,
                                  truth_arg("log_scale", false), p_arg()}),
                 draw_affine, check_affine});
  Arg amount = range_arg("amount", {}, -1, 1, Widen::symmetric);
  amount.required = true;
  out.push_back({"shear_x", "", 8, G, "x_src = x + amount y, about the top left corner", true,
                 with_resampling({amount, p_arg()}), draw_shear_x});
  out.push_back({"shear_y", "", 9, G, "y_src = y + amount x, about the top left corner", true,
                 with_resampling({amount, p_arg()}), draw_shear_y});
  const std::vector<Arg> shift = {range_arg("pixels", {0}, -big, big, Widen::symmetric),
                                  range_arg("fraction", {0}, -1, 1, Widen::symmetric), p_arg(), border_arg(), fill_arg()};
  out.push_back({"translate_x", "", 10, G, "moves by whole pixels, or a fraction of the width", true, shift, draw_translate_x});
  out.push_back({"translate_y", "", 11, G, "moves by whole pixels, or a fraction of the height", true, shift, draw_translate_y});
  out.push_back({"perspective", "", 12, G, "moves the four corners inwards", true,
                 with_resampling({number_arg("distortion_scale", 0.5, 0, 1), p_arg(0.5)}), draw_perspective});
  out.push_back({"elastic", "", 13, G, "smooth random displacements of up to alpha/2 pixels (Simard 2003)", true,
                 with_resampling({number_arg("alpha", 50, 0, 1e5), number_arg("sigma", 5, 0, 1000), p_arg()}), draw_elastic});
  out.push_back({"grid_distortion", "", 14, G, "knots of a grid moved by up to `limit` cells", true,
                 with_resampling({whole_arg("steps", 5, 1, 64), number_arg("limit", 0.3, 0, 1), p_arg()}),
                 draw_grid_distortion});
  out.push_back({"optical_distortion", "", 15, G, "barrel or cushion: p_src = c + (p - c)(1 + k r^2)", true,
                 with_resampling({range_arg("k", {0.5}, -0.9, 10, Widen::symmetric), p_arg()}), draw_optical_distortion});
}

}  // namespace ballast::detail
