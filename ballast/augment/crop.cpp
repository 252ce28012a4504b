#include <algorithm>
#include <cmath>

#include <ballast/augment/geometry.h>
#include <ballast/base/check.h>
#include <ballast/base/detmath.h>

namespace ballast::detail {

namespace {

constexpr std::string_view kFilters = "nearest|box|bilinear|hamming|bicubic|lanczos";
constexpr std::string_view kFiltersOrRandom = "nearest|box|bilinear|hamming|bicubic|lanczos|random";

constexpr std::string_view kFiveViews = "all|top_left|top_right|bottom_left|bottom_right|center";
constexpr std::string_view kTenViews =
    "all|top_left|top_right|bottom_left|bottom_right|center|mirrored_top_left|mirrored_top_right|mirrored_bottom_left|"
    "mirrored_bottom_right|mirrored_center";

Interpolation filter(const Step& s, size_t i) { return static_cast<Interpolation>(s.whole(i)); }
int32_t side(double n) { return static_cast<int32_t>(std::clamp(n, 1.0, 65'535.0)); }

void draw_resize(const Step& s, Key, Planner& plan) {
  const auto size = s.size(0);
  const int32_t h = plan.h(), w = plan.w(), mode = s.whole(2), max_size = s.whole(1);
  if (s.both(0) || mode == 2) return plan.resize(size[0], size[1], filter(s, 3), s.truth(4));
  const bool longer = mode == 1;
  const int64_t base = longer ? std::max(h, w) : std::min(h, w), other = longer ? std::min(h, w) : std::max(h, w);
  int64_t n = size[0], scaled = n * other / base;
  if (max_size != 0 && scaled > max_size) {
    n = int64_t{max_size} * n / scaled;
    scaled = max_size;
  }
  const bool h_is_base = longer ? h >= w : h <= w;
  plan.resize(side(static_cast<double>(h_is_base ? n : scaled)), side(static_cast<double>(h_is_base ? scaled : n)),
              filter(s, 3), s.truth(4));
}

void check_resize(const Step& s) {
  const int32_t max_size = s.whole(1);
  if (max_size == 0) return;
  check(!s.both(0) && s.whole(2) == 0, "resize", "max_size goes with mode=short and one size");
  check(max_size > s.size(0)[0], "resize", "max_size must be larger than size, got ", max_size, " <= ", s.size(0)[0]);
}

void draw_rrc(const Step& s, Key key, Planner& plan) {
  const int32_t H = plan.h(), W = plan.w();
  const auto size = s.size(0);
  const auto scale = s.range(1), ratio = s.range(2);
  const double log_low = det_log(ratio[0]), log_high = det_log(ratio[1]);
  int32_t h = 0, w = 0, top = 0, left = 0;
  bool found = false;
  for (uint32_t t = 0; t < 10 && !found; ++t) {
    const double area = static_cast<double>(W) * H * (scale[0] + (scale[1] - scale[0]) * slot_uniform(key, 1, t));
    const double r = det_exp(log_low + (log_high - log_low) * slot_uniform(key, 2, t));
    const double x = std::nearbyint(std::sqrt(area * r)), y = std::nearbyint(std::sqrt(area / r));
    if (x > 0 && x <= W && y > 0 && y <= H) {
      w = static_cast<int32_t>(x);
      h = static_cast<int32_t>(y);
      top = static_cast<int32_t>(slot_below(key, 3, static_cast<uint64_t>(H - h + 1)));
      left = static_cast<int32_t>(slot_below(key, 4, static_cast<uint64_t>(W - w + 1)));
      found = true;
    }
  }
  if (!found) {
    const double shape = static_cast<double>(W) / H;
    w = W;
    h = H;
    if (shape < ratio[0]) {
      h = std::clamp(static_cast<int32_t>(std::nearbyint(W / ratio[0])), 1, H);
    } else if (shape > ratio[1]) {
      w = std::clamp(static_cast<int32_t>(std::nearbyint(H * ratio[1])), 1, W);
    }
    top = (H - h) / 2;
    left = (W - w) / 2;
  }
  const int32_t kind = s.whole(3);
  const Interpolation interpolation =
      kind == 6 ? (slot_below(key, 5, 2) == 0 ? Interpolation::bilinear : Interpolation::bicubic) : filter(s, 3);
  plan.note("rrc", {1.0 * left, 1.0 * top, 1.0 * w, 1.0 * h});
  plan.crop(top, left, h, w);
  plan.resize(size[0], size[1], interpolation, s.truth(4));
}

/// left, top, right, bottom.
std::array<int32_t, 4> sides(const Step& s, size_t i) {
  const auto& v = s.list(i);
  std::array<int32_t, 4> out;
  for (size_t k = 0; k < 4; ++k) out[k] = static_cast<int32_t>(v[k % v.size()]);
  return out;
}

void draw_random_crop(const Step& s, Key key, Planner& plan) {
  const auto size = s.size(0);
  const auto padding = sides(s, 1);
  const auto border = static_cast<Border>(s.whole(3));
  const Fill fill = fill_of(s, 4, plan);
  plan.pad(padding[1], padding[3], padding[0], padding[2], border, fill);
  if (s.truth(2)) {
    const int32_t dy = std::max(0, size[0] - plan.h()), dx = std::max(0, size[1] - plan.w());
    plan.pad(dy, dy, dx, dx, border, fill);
  }
  const int32_t h = plan.h(), w = plan.w();
  if (plan.facts().size_only) return plan.crop(0, 0, size[0], size[1]);
  check(size[0] <= h && size[1] <= w, "random_crop", size[0], "x", size[1], " does not fit the padded ", h, "x", w,
        " image; set padding, pad_if_needed or a smaller size");
  const auto top = slot_below(key, 1, static_cast<uint64_t>(h - size[0] + 1));
  const auto left = slot_below(key, 2, static_cast<uint64_t>(w - size[1] + 1));
  plan.note("crop", {static_cast<double>(left), static_cast<double>(top)});
  plan.crop(static_cast<int32_t>(top), static_cast<int32_t>(left), size[0], size[1]);
}

void center_crop(Planner& plan, int32_t out_h, int32_t out_w) {
  const int32_t dy = std::max(0, out_h - plan.h()), dx = std::max(0, out_w - plan.w());
  plan.pad(dy / 2, (dy + 1) / 2, dx / 2, (dx + 1) / 2, Border::constant, {});
  const auto middle = [](int32_t spare) { return static_cast<int32_t>(std::nearbyint(spare / 2.0)); };
  plan.crop(middle(plan.h() - out_h), middle(plan.w() - out_w), out_h, out_w);
}

/// Corners in torchvision's order, the middle, and the same of the mirrored picture.
void draw_corners(const Step& s, Key, Planner& plan) {
  const auto size = s.size(0);
  int32_t view = s.whole(1);
  if (plan.facts().size_only) return plan.crop(0, 0, size[0], size[1]);
  check(view > 0, s.op->name, "makes ", s.op->name == "ten_crop" ? 10 : 5,
        " pictures, for evaluation only; view=top_left is one of them");
  check(size[0] <= plan.h() && size[1] <= plan.w(), s.op->name, size[0], "x", size[1], " does not fit the ", plan.h(), "x",
        plan.w(), " image; set a smaller size, or resize first");
  plan.note(s.op->name, {static_cast<double>(view)});
  if (view > 5) {
    plan.flip_x();
    view -= 5;
  }
  if (view == 5) return center_crop(plan, size[0], size[1]);
  plan.crop(view <= 2 ? 0 : plan.h() - size[0], view % 2 == 1 ? 0 : plan.w() - size[1], size[0], size[1]);
}

void draw_pad(const Step& s, Key, Planner& plan) {
  const auto padding = sides(s, 0);
  int32_t left = padding[0], top = padding[1], right = padding[2], bottom = padding[3];
  const auto grow = [&](int32_t want_h, int32_t want_w) {
    const int32_t dy = std::max(0, want_h - plan.h() - top - bottom), dx = std::max(0, want_w - plan.w() - left - right);
    // position: center, top_left, top_right, bottom_left, bottom_right: where the picture goes.
    const int32_t at = s.whole(3);
    const int32_t above = at == 0 ? dy / 2 : at <= 2 ? 0 : dy, before = at == 0 ? dx / 2 : at == 1 || at == 3 ? 0 : dx;
    top += above;
    bottom += dy - above;
    left += before;
    right += dx - before;
  };
  if (s.values[1].given) grow(s.size(1)[0], s.size(1)[1]);
  if (const int32_t d = s.whole(2); d > 1) {
    const auto up = [&](int32_t n) { return (n + d - 1) / d * d; };
    grow(up(plan.h() + top + bottom), up(plan.w() + left + right));
  }
  plan.pad(top, bottom, left, right, static_cast<Border>(s.whole(4)), fill_of(s, 5, plan));
}

void draw_scale_jitter(const Step& s, Key key, Planner& plan) {
  const auto target = s.size(0);
  const double u = s.uniform(1, key, 1);
  const double r = u * std::min(1.0 * target[0] / plan.h(), 1.0 * target[1] / plan.w());
  plan.note("scale_jitter", {u});
  plan.resize(side(plan.h() * r), side(plan.w() * r), filter(s, 2), s.truth(3));
}

void draw_random_shortest_size(const Step& s, Key key, Planner& plan) {
  const auto& sizes = s.list(0);
  const double m = sizes[slot_below(key, 1, sizes.size())];
  double r = m / std::min(plan.h(), plan.w());
  if (s.whole(1) != 0) r = std::min(r, 1.0 * s.whole(1) / std::max(plan.h(), plan.w()));
  plan.note("random_shortest_size", {m});
  plan.resize(side(plan.h() * r), side(plan.w() * r), filter(s, 2), s.truth(3));
}

void draw_zoom_out(const Step& s, Key key, Planner& plan) {
  const double r = s.uniform(0, key, 1);
  const int32_t h = plan.h(), w = plan.w(), H = side(r * h), W = side(r * w);
  const auto left = static_cast<int32_t>((W - w) * slot_uniform(key, 2));
  const auto top = static_cast<int32_t>((H - h) * slot_uniform(key, 3));
  plan.note("zoom_out", {r});
  plan.pad(top, H - h - top, left, W - w - left, static_cast<Border>(s.whole(2)), fill_of(s, 3, plan));
}

void draw_iou_crop(const Step& s, Key key, Planner& plan) {
  check(plan.facts().has_boxes, "iou_crop", "needs boxes, the source gives none");
  const auto scale = s.range(0), aspect = s.range(1);
  const auto& options = s.list(2);
  const auto trials = static_cast<uint32_t>(s.whole(3));
  const double W = plan.w(), H = plan.h();
  const auto boxes = plan.boxes();
  for (uint32_t k = 0; k < 50; ++k) {
    const double option = options[slot_below(key, 1, options.size(), k)];
    if (option >= 1) return;
    for (uint32_t t = 0; t < trials; ++t) {
      const uint32_t a = trials * k + t;
      const auto w = static_cast<int32_t>(W * (scale[0] + (scale[1] - scale[0]) * slot_uniform(key, 2, a)));
      const auto h = static_cast<int32_t>(H * (scale[0] + (scale[1] - scale[0]) * slot_uniform(key, 3, a)));
      if (w < 1 || h < 1) continue;
      const double shape = 1.0 * w / h;
      if (shape < aspect[0] || shape > aspect[1]) continue;
      const auto left = static_cast<int32_t>((W - w) * slot_uniform(key, 4, a));
      const auto top = static_cast<int32_t>((H - h) * slot_uniform(key, 5, a));
      double best = -1;
      for (const auto& b : boxes) {
        const double cx = (b[0] + b[2]) / 2, cy = (b[1] + b[3]) / 2;
        if (!(cx > left && cx < left + w && cy > top && cy < top + h)) continue;
        const double x = std::min(b[2], 1.0 * left + w) - std::max(b[0], 1.0 * left);
        const double y = std::min(b[3], 1.0 * top + h) - std::max(b[1], 1.0 * top);
        const double both = std::max(0.0, x) * std::max(0.0, y);
        best = std::max(best, both / ((b[2] - b[0]) * (b[3] - b[1]) + 1.0 * w * h - both));
      }
      if (best < option) continue;
      plan.note("iou_crop", {1.0 * left, 1.0 * top, 1.0 * w, 1.0 * h});
      return plan.crop(top, left, h, w, true);
    }
  }
}

void draw_safe_crop(const Step& s, Key key, Planner& plan) {
  const auto size = s.size(0);
  const double erosion = s.num(1), W = plan.w(), H = plan.h();
  // Without boxes the window may be anywhere: the middle is the hull.
  double x0 = W / 2, y0 = H / 2, x1 = W / 2, y1 = H / 2;
  bool first = true;
  for (const auto& b : plan.boxes()) {
    const double dx = erosion * (b[2] - b[0]) / 2, dy = erosion * (b[3] - b[1]) / 2;
    x0 = first ? b[0] + dx : std::min(x0, b[0] + dx);
    y0 = first ? b[1] + dy : std::min(y0, b[1] + dy);
    x1 = first ? b[2] - dx : std::max(x1, b[2] - dx);
    y1 = first ? b[3] - dy : std::max(y1, b[3] - dy);
    first = false;
  }
  x0 = std::clamp(x0, 0.0, W - 1);
  y0 = std::clamp(y0, 0.0, H - 1);
  x1 = std::clamp(x1, x0 + 1, W);
  y1 = std::clamp(y1, y0 + 1, H);
  const auto left = static_cast<int32_t>(x0 * slot_uniform(key, 1)), top = static_cast<int32_t>(y0 * slot_uniform(key, 2));
  const auto right = static_cast<int32_t>(std::ceil(x1 + (W - x1) * slot_uniform(key, 3)));
  const auto bottom = static_cast<int32_t>(std::ceil(y1 + (H - y1) * slot_uniform(key, 4)));
  plan.note("safe_crop", {1.0 * left, 1.0 * top, 1.0 * right - left, 1.0 * bottom - top});
  plan.crop(top, left, std::min(bottom, plan.h()) - top, std::min(right, plan.w()) - left);
  plan.resize(size[0], size[1], filter(s, 2), s.truth(3));
}

}  // namespace

void add_crops(std::vector<Operation>& out) {
  constexpr auto G = AugmentGroup::crop;
  const Arg interpolation = choice_arg("interpolation", kFilters, 2), antialias = truth_arg("antialias", true);
  const Arg padding{.name = "padding", .kind = ArgKind::numbers, .standard = {0}, .low = 0, .high = 32'767, .max_count = 4,
                    .integral = true};
  Arg max_size = whole_arg("max_size", 0, 1, 65'535);
  max_size.positional = false;
  out.push_back({"resize", "", 16, G, "resamples: the short side to size, or to [height, width]", false,
                 {size_arg(), max_size, choice_arg("mode", "short|long|exact"), interpolation, antialias}, draw_resize,
                 check_resize});
  Arg scale = range_arg("scale", {0.08, 1}, 0, 1, Widen::none);
  scale.open = true;
  Arg ratio = range_arg("ratio", {3.0 / 4, 4.0 / 3}, 0, 1000, Widen::none);
  ratio.open = true;
  out.push_back({"random_resized_crop", "rrc", 17, G, "a crop of random area and aspect, resampled to size", true,
                 {size_arg(), scale, ratio, choice_arg("interpolation", kFiltersOrRandom, 2), antialias}, draw_rrc});
  Arg crop_padding = padding;
  out.push_back({"random_crop", "", 18, G, "pads, then crops at a random place", true,
                 {size_arg(), crop_padding, truth_arg("pad_if_needed", false), border_arg("padding_mode"), fill_arg()},
                 draw_random_crop});
  out.push_back({"center_crop", "", 19, G, "crops the middle; smaller pictures are padded", false, {size_arg()},
                 [](const Step& s, Key, Planner& plan) { center_crop(plan, s.size(0)[0], s.size(0)[1]); }});
  Arg min_size{.name = "min_size", .kind = ArgKind::size, .standard = {1}, .low = 1, .high = 65'535, .positional = false};
  Arg divisor = whole_arg("divisor", 1, 1, 65'535);
  divisor.positional = false;
  out.push_back({"pad", "", 20, G, "adds a border; up to min_size, or to a multiple of divisor", false,
                 {padding, min_size, divisor, choice_arg("position", "center|top_left|top_right|bottom_left|bottom_right"),
                  border_arg("padding_mode"), fill_arg()},
                 draw_pad});
  Arg target = size_arg();
  target.name = "target_size";
  Arg scale_range = range_arg("scale_range", {0.1, 2}, 0, 100, Widen::fixed);
  scale_range.open = true;
  out.push_back({"scale_jitter", "", 21, G, "scales by a random factor of what fits target_size (2012.07177)", true,
                 {target, scale_range, interpolation, antialias}, draw_scale_jitter});
  Arg sizes{.name = "min_size", .kind = ArgKind::numbers, .standard = {}, .low = 1, .high = 65'535, .required = true,
            .max_count = 64, .integral = true};
  out.push_back({"random_shortest_size", "", 22, G, "the short side to one of a list of sizes", true,
                 {sizes, max_size, interpolation, antialias}, draw_random_shortest_size});
  Arg zoom = range_arg("side_range", {1, 4}, 1, 100, Widen::fixed);
  out.push_back({"zoom_out", "", 23, G, "sets the picture at random into a larger canvas", true,
                 {zoom, p_arg(0.5), border_arg(), fill_arg()}, draw_zoom_out});
  Arg options{.name = "options", .kind = ArgKind::numbers, .standard = {0, .1, .3, .5, .7, .9, 1}, .low = 0, .high = 1,
              .positional = false, .max_count = 32};
  Arg iou_scale = range_arg("scale", {0.3, 1}, 0, 1, Widen::none), aspect = range_arg("aspect", {0.5, 2}, 0, 100, Widen::none);
  iou_scale.open = aspect.open = true;
  out.push_back({"iou_crop", "", 24, G, "a crop that keeps a box with enough overlap (SSD, 1512.02325)", true,
                 {iou_scale, aspect, options, whole_arg("trials", 40, 1, 1000), p_arg()}, draw_iou_crop});
  out.push_back({"safe_crop", "", 25, G, "a crop that keeps all boxes, resampled to size", true,
                 {size_arg(), number_arg("erosion", 0, 0, 1), interpolation, antialias}, draw_safe_crop});
  out.push_back({"five_crop", "", 67, G, "evaluation: the corners and the middle, predictions averaged", false,
                 {size_arg(), choice_arg("view", kFiveViews)}, draw_corners});
  out.push_back({"ten_crop", "", 68, G, "evaluation: five_crop, also of the mirrored picture", false,
                 {size_arg(), choice_arg("view", kTenViews)}, draw_corners});
}

}  // namespace ballast::detail
