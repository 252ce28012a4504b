#include <algorithm>
#include <cmath>

#include <ballast/augment/plan.h>
#include <ballast/base/check.h>

namespace ballast::detail {

namespace {

using Kind = PixelOp::Kind;

/// Order number `index` of n things, counted as std::next_permutation does.
template <size_t N>
std::array<size_t, N> permutation(uint64_t index) {
  std::array<size_t, N> order;
  for (size_t i = 0; i < N; ++i) order[i] = i;
  for (; index > 0; --index) std::next_permutation(order.begin(), order.end());
  return order;
}

/// An operation with one drawn value.
template <PixelOp::Kind kKind>
void draw_value(const Step& s, Key key, Planner& plan) {
  const double v = s.uniform(0, key, 1);
  plan.note(s.op->name, {v});
  plan.pixel(kKind, {v});
}

/// An operation without a value.
template <PixelOp::Kind kKind>
void draw_plain(const Step& s, Key, Planner& plan) {
  plan.note(s.op->name);
  plan.pixel(kKind);
}

void draw_hue(const Step& s, Key key, Planner& plan) {
  const double f = s.uniform(0, key, 1);
  plan.note("hue", {f});
  plan.pixel(s.whole(1) == 0 ? Kind::hue : Kind::hue_yiq, {f});
}

void draw_jitter(const Step& s, Key key, Planner& plan) {
  constexpr std::array<Kind, 4> kinds = {Kind::brightness, Kind::contrast, Kind::saturation, Kind::hue};
  constexpr std::array<std::string_view, 4> names = {"brightness", "contrast", "saturation", "hue"};
  for (const size_t i : permutation<4>(slot_below(key, 1, 24))) {
    const auto range = s.range(i);
    const double neutral = i == 3 ? 0 : 1;
    if (range[0] == neutral && range[1] == neutral) continue;
    const double f = s.uniform(i, key, static_cast<uint32_t>(2 + i));
    plan.note(names[i], {f});
    plan.pixel(kinds[i], {f});
  }
}

void draw_photometric(const Step& s, Key key, Planner& plan) {
  const double p = s.num(4);
  const auto step = [&](size_t i, Kind kind, std::string_view name) {
    if (!slot_bernoulli(key, static_cast<uint32_t>(1 + i), p)) return;
    const double f = s.uniform(i, key, static_cast<uint32_t>(5 + i));
    plan.note(name, {f});
    plan.pixel(kind, {f});
  };
  const bool late = slot_bernoulli(key, 9, 0.5);
  step(0, Kind::brightness, "brightness");
  if (!late) step(1, Kind::contrast, "contrast");
  step(2, Kind::saturation, "saturation");
  step(3, Kind::hue, "hue");
  if (late) step(1, Kind::contrast, "contrast");
  if (slot_bernoulli(key, 10, p)) {
    const auto order = permutation<3>(slot_below(key, 11, 6));
    plan.note("channels", {1.0 * static_cast<double>(order[0]), 1.0 * static_cast<double>(order[1]),
                           1.0 * static_cast<double>(order[2])});
    plan.pixel(Kind::channel_shuffle, {static_cast<double>(order[0]), static_cast<double>(order[1]),
                                       static_cast<double>(order[2])});
  }
}

void draw_gamma(const Step& s, Key key, Planner& plan) {
  const double gamma = s.uniform(0, key, 1);
  plan.note("gamma", {gamma});
  plan.pixel(Kind::gamma, {gamma, s.num(1)});
}

void draw_posterize(const Step& s, Key key, Planner& plan) {
  const auto r = s.range(0);
  const double bits = r[0] + static_cast<double>(slot_below(key, 1, static_cast<uint64_t>(r[1] - r[0]) + 1));
  plan.note("posterize", {bits});
  plan.pixel(Kind::posterize, {bits});
}

void draw_solarize_add(const Step& s, Key key, Planner& plan) {
  const auto r = s.range(0);
  const double add = r[0] + static_cast<double>(slot_below(key, 1, static_cast<uint64_t>(r[1] - r[0]) + 1));
  plan.note("solarize_add", {add});
  plan.pixel(Kind::solarize_add, {add, s.num(1)});
}

void draw_channel_shuffle(const Step&, Key key, Planner& plan) {
  const auto order = permutation<3>(slot_below(key, 1, 6));
  plan.note("channel_shuffle");
  plan.pixel(Kind::channel_shuffle, {static_cast<double>(order[0]), static_cast<double>(order[1]),
                                     static_cast<double>(order[2])});
}

void draw_rgb_shift(const Step& s, Key key, Planner& plan) {
  const double a = s.uniform(0, key, 1), b = s.uniform(0, key, 2), c = s.uniform(0, key, 3);
  plan.note("rgb_shift", {a, b, c});
  plan.pixel(Kind::rgb_shift, {a, b, c});
}

void draw_fancy_pca(const Step& s, Key key, Planner& plan) {
  // Eigenvalues and eigenvectors of ImageNet's colours in [0, 1] (Krizhevsky et al. 2012).
  constexpr double values[3] = {0.2175, 0.0188, 0.0045};
  constexpr double vectors[3][3] = {
      {-0.5675, 0.7192, 0.4009}, {-0.5808, -0.0045, -0.8140}, {-0.5836, -0.6948, 0.4203}};
  double shift[3] = {};
  for (uint32_t k = 0; k < 3; ++k) {
    const double alpha = s.num(0) * slot_normal(key, 1 + k) * values[k] * 255;
    for (int j = 0; j < 3; ++j) shift[j] += vectors[j][k] * alpha;
  }
  plan.note("fancy_pca", {shift[0], shift[1], shift[2]});
  plan.pixel(Kind::rgb_shift, {shift[0], shift[1], shift[2]});
}

void draw_blur(const Step& s, Key key, Planner& plan) {
  const double sigma = s.uniform(1, key, 1);
  const int32_t given = s.values[0].given && s.values[0].word.empty() ? s.whole(0) : 0;
  const double size = given != 0 ? given : 2 * std::ceil(3 * sigma) + 1;
  plan.note("gaussian_blur", {sigma});
  plan.pixel(Kind::gaussian_blur, {sigma, size});
}

void check_blur(const Step& s) {
  const int32_t size = s.values[0].word.empty() ? s.whole(0) : 0;
  check(size == 0 || size % 2 == 1, "gaussian_blur", "kernel_size must be odd, or auto, got ", size);
}

void draw_jpeg(const Step& s, Key key, Planner& plan) {
  const auto r = s.range(0);
  const double quality = r[0] + static_cast<double>(slot_below(key, 1, static_cast<uint64_t>(r[1] - r[0]) + 1));
  plan.note("jpeg", {quality});
  plan.pixel(Kind::jpeg, {quality});
}

void draw_motion_blur(const Step& s, Key key, Planner& plan) {
  const auto r = s.range(0);
  const double length = r[0] + static_cast<double>(slot_below(key, 1, static_cast<uint64_t>(r[1] - r[0]) + 1));
  const double angle = s.uniform(1, key, 2);
  plan.note("motion_blur", {length, angle});
  plan.pixel(Kind::motion_blur, {length, angle});
}

void draw_unsharp(const Step& s, Key key, Planner& plan) {
  const double sigma = s.uniform(0, key, 1), amount = s.uniform(1, key, 2);
  plan.note("unsharp", {sigma, amount});
  plan.pixel(Kind::unsharp, {sigma, amount});
}

void draw_clahe(const Step& s, Key key, Planner& plan) {
  const double clip = s.uniform(0, key, 1);
  plan.note("clahe", {clip});
  plan.pixel(Kind::clahe, {clip, s.num(1)});
}

void draw_noise(const Step& s, Key key, Planner& plan) {
  const double sigma = s.uniform(1, key, 1);
  plan.note("gaussian_noise", {sigma});
  plan.pixel(Kind::gaussian_noise, {s.num(0), sigma, s.truth(2) ? 1.0 : 0.0, 2}, key);
}

void draw_salt_pepper(const Step& s, Key key, Planner& plan) {
  const double amount = s.uniform(0, key, 1);
  plan.note("salt_pepper", {amount});
  plan.pixel(Kind::salt_pepper, {amount, 2}, key);
}

void draw_pixel_dropout(const Step& s, Key key, Planner& plan) {
  plan.note("pixel_dropout", {s.num(0)});
  plan.pixel(Kind::pixel_dropout, {s.num(0), 1}, key);
}

Arg required(Arg a) {
  a.required = true;
  a.standard.clear();
  return a;
}
Arg integral(Arg a) {
  a.integral = true;
  return a;
}
Arg open(Arg a) {
  a.open = true;
  return a;
}

}  // namespace

void add_color(std::vector<Operation>& out) {
  constexpr auto G = AugmentGroup::color;
  constexpr double far = 1000;
  const auto factor = [&] { return required(range_arg("factor", {}, 0, far, Widen::fixed)); };
  const auto jitter = [](std::string_view name) { return range_arg(name, {0}, 0, far, Widen::about_one); };
  out.push_back({"brightness", "", 26, G, "x f", true, {factor(), p_arg()}, draw_value<Kind::brightness>});
  out.push_back({"contrast", "", 27, G, "blends with the mean gray", true, {factor(), p_arg()}, draw_value<Kind::contrast>});
  out.push_back({"saturation", "", 28, G, "blends with the pixel's gray", true, {factor(), p_arg()},
                 draw_value<Kind::saturation>});
  out.push_back({"hue", "", 29, G, "turns the hue by a part of the circle", true,
                 {required(range_arg("factor", {}, -0.5, 0.5, Widen::symmetric)), choice_arg("mode", "hsv|yiq"), p_arg()},
                 draw_hue});
  out.push_back({"color_jitter", "jitter", 30, G, "brightness, contrast, saturation, hue in random order", true,
                 {jitter("brightness"), jitter("contrast"), jitter("saturation"),
                  range_arg("hue", {0}, -0.5, 0.5, Widen::symmetric), p_arg()},
                 draw_jitter});
  out.push_back({"photometric_distort", "", 31, G, "SSD's colour distortion, each part with probability p", true,
                 {range_arg("brightness", {0.125}, 0, far, Widen::about_one),
                  range_arg("contrast", {0.5}, 0, far, Widen::about_one),
                  range_arg("saturation", {0.5}, 0, far, Widen::about_one),
                  range_arg("hue", {0.05}, -0.5, 0.5, Widen::symmetric), p_arg(0.5)},
                 draw_photometric});
  out.push_back({"grayscale", "", 32, G, "R = G = B = gray", true, {p_arg(0.1, true)}, draw_plain<Kind::grayscale>});
  out.push_back({"gamma", "", 33, G, "gain x^gamma", true,
                 {open(range_arg("gamma", {0.8, 1.2}, 0, 100, Widen::fixed)), number_arg("gain", 1, 0, 100), p_arg()},
                 draw_gamma});
  out.push_back({"invert", "", 34, G, "255 - x", true, {p_arg(0.5, true)}, draw_plain<Kind::invert>});
  out.push_back({"posterize", "", 35, G, "keeps the high bits", true,
                 {integral(required(range_arg("bits", {}, 0, 8, Widen::fixed))), p_arg()}, draw_posterize});
  out.push_back({"solarize", "", 36, G, "inverts what is not below threshold", true,
                 {range_arg("threshold", {128}, 0, 256, Widen::fixed), p_arg()}, draw_value<Kind::solarize>});
  out.push_back({"solarize_add", "", 37, G, "adds to what is below threshold", true,
                 {integral(range_arg("add", {0, 110}, 0, 255, Widen::fixed)), number_arg("threshold", 128, 0, 256), p_arg()},
                 draw_solarize_add});
  out.push_back({"channel_shuffle", "", 38, G, "colour channels in random order", true, {p_arg(0.5, true)},
                 draw_channel_shuffle});
  out.push_back({"autocontrast", "", 39, G, "stretches each channel to 0..255 (Pillow's)", true, {p_arg(0.5, true)},
                 draw_plain<Kind::autocontrast>});
  out.push_back({"equalize", "", 40, G, "flattens each channel's histogram (Pillow's)", true, {p_arg(0.5, true)},
                 draw_plain<Kind::equalize>});
  out.push_back({"rgb_shift", "", 41, G, "adds a number to each channel", true,
                 {range_arg("shift", {20}, -255, 255, Widen::symmetric), p_arg()}, draw_rgb_shift});
  out.push_back({"fancy_pca", "", 42, G, "shifts along ImageNet's colour axes (AlexNet)", true,
                 {number_arg("std", 0.1, 0, 100), p_arg()}, draw_fancy_pca});
  out.push_back({"sharpness", "", 43, G, "blends with the smoothed picture", true, {factor(), p_arg()},
                 draw_value<Kind::sharpness>});
  Arg kernel{.name = "kernel_size", .kind = ArgKind::stats, .standard = {0}, .low = 1, .high = 1001, .choices = "auto",
             .integral = true};
  out.push_back({"gaussian_blur", "", 44, G, "Gaussian blur of random sigma", true,
                 {kernel, open(range_arg("sigma", {0.1, 2}, 0, 200, Widen::fixed)), p_arg()}, draw_blur, check_blur});
  out.push_back({"jpeg_compression", "", 45, G, "codes and decodes as JPEG", true,
                 {integral(range_arg("quality", {50, 95}, 1, 100, Widen::fixed)), p_arg()}, draw_jpeg});
  Arg odd = choice_arg("size", "3|5");
  odd.positional = true;
  out.push_back({"median_blur", "", 46, G, "median of 3x3 or 5x5", true, {odd, p_arg()},
                 [](const Step& s, Key, Planner& plan) {
                   plan.note("median_blur", {3.0 + 2 * s.whole(0)});
                   plan.pixel(Kind::median_blur, {3.0 + 2 * s.whole(0)});
                 }});
  out.push_back({"motion_blur", "", 47, G, "mean along a line", true,
                 {integral(range_arg("length", {3, 7}, 1, 255, Widen::fixed)),
                  range_arg("angle", {-180, 180}, -360, 360, Widen::fixed), p_arg()},
                 draw_motion_blur});
  out.push_back({"downscale", "", 48, G, "box down, nearest up", true,
                 {open(range_arg("scale", {0.25, 0.5}, 0, 1, Widen::fixed)), p_arg()}, draw_value<Kind::downscale>});
  out.push_back({"unsharp", "", 49, G, "x + a (x - blur)", true,
                 {open(range_arg("sigma", {0.5, 2}, 0, 200, Widen::fixed)), range_arg("amount", {0.2, 0.5}, 0, 100, Widen::fixed),
                  p_arg()},
                 draw_unsharp});
  out.push_back({"clahe", "", 50, G, "luma equalized tile by tile, with a limit", true,
                 {open(range_arg("clip", {1, 4}, 0, 1000, Widen::fixed)), whole_arg("tiles", 8, 1, 256), p_arg()}, draw_clahe});
  out.push_back({"gaussian_noise", "", 51, G, "adds normal noise; mean and sigma as parts of the range", true,
                 {number_arg("mean", 0, -10, 10), range_arg("sigma", {0.1}, 0, 10, Widen::fixed),
                  truth_arg("per_channel", true), p_arg()},
                 draw_noise});
  out.push_back({"salt_pepper", "", 52, G, "some pixels black, some white", true,
                 {range_arg("amount", {0.01, 0.06}, 0, 1, Widen::fixed), p_arg()}, draw_salt_pepper});
  out.push_back({"pixel_dropout", "", 53, G, "some pixels black", true, {number_arg("drop", 0.01, 0, 1), p_arg()},
                 draw_pixel_dropout});
}

}  // namespace ballast::detail
