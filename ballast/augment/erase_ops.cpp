#include <algorithm>
#include <cmath>

#include <ballast/augment/plan.h>
#include <ballast/base/check.h>
#include <ballast/base/detmath.h>

namespace ballast::detail {

namespace {

/// value: normalized units; fill: levels, where given.
void paint(Erasure& e, const Step& s, size_t value, size_t fill, const Planner& plan) {
  // The last argument of all of them.
  if (s.values.back().given) e.mask_value = s.whole(s.values.size() - 1);
  if (s.values[fill].given) {
    const auto& v = s.list(fill);
    e.levels = true;
    for (size_t j = 0; j < 3; ++j) {
      e.value[j] = s.values[fill].word == "mean" ? static_cast<float>(plan.facts().mean[j])
                                                 : static_cast<float>(v[j % v.size()]);
    }
    return;
  }
  const auto& v = s.list(value);
  for (size_t j = 0; j < 3; ++j) e.value[j] = static_cast<float>(v[j % v.size()]);
}

/// The id that masks get in the erased part; without it they stay.
Arg mask_arg() {
  Arg a = whole_arg("fill_mask", 0, 0, 65'535);
  a.standard.clear();
  a.positional = false;
  return a;
}

/// In levels; without it `value` counts.
Arg levels_arg() {
  Arg a = fill_arg();
  a.standard.clear();
  return a;
}

Arg value_arg() {
  return {.name = "value", .kind = ArgKind::numbers, .standard = {0}, .low = -1000, .high = 1000, .positional = false,
          .max_count = 3};
}

void draw_cutout(const Step& s, Key key, Planner& plan) {
  const double given = s.num(0);
  const auto holes = static_cast<uint32_t>(s.whole(1));
  const int32_t H = plan.h(), W = plan.w();
  const auto size = given < 1 ? static_cast<int32_t>(std::nearbyint(given * std::min(H, W))) : static_cast<int32_t>(given);
  for (uint32_t k = 0; k < holes; ++k) {
    const auto cy = static_cast<int32_t>(slot_below(key, 1 + 2 * k, static_cast<uint64_t>(H)));
    const auto cx = static_cast<int32_t>(slot_below(key, 2 + 2 * k, static_cast<uint64_t>(W)));
    Erasure e;
    e.x = std::max(0, cx - size / 2);
    e.y = std::max(0, cy - size / 2);
    e.w = std::min(W, cx - size / 2 + size) - e.x;
    e.h = std::min(H, cy - size / 2 + size) - e.y;
    paint(e, s, 2, 3, plan);
    plan.note("cutout", {1.0 * e.x, 1.0 * e.y, 1.0 * e.w, 1.0 * e.h});
    plan.erase(e);
  }
}

void check_cutout(const Step& s) {
  const double size = s.num(0);
  check(size < 1 || size == std::floor(size), "cutout", "size must be a whole number, or a fraction below 1, got ", size);
}

void draw_erasing(const Step& s, Key key, Planner& plan) {
  const int32_t H = plan.h(), W = plan.w();
  const auto counts = s.range(5);
  const auto n = static_cast<uint32_t>(counts[0]) +
                 static_cast<uint32_t>(slot_below(key, 1, static_cast<uint64_t>(counts[1] - counts[0]) + 1));
  const auto scale = s.range(1), ratio = s.range(2);
  const double log_low = det_log(ratio[0]), log_high = det_log(ratio[1]);
  for (uint32_t k = 0; k < n; ++k) {
    const uint32_t slot = 2 + 8 * k;
    for (uint32_t t = 0; t < 10; ++t) {
      const double area = 1.0 * W * H * (scale[0] + (scale[1] - scale[0]) * slot_uniform(key, slot, t)) / n;
      const double r = det_exp(log_low + (log_high - log_low) * slot_uniform(key, slot + 1, t));
      const double h = std::nearbyint(std::sqrt(area * r)), w = std::nearbyint(std::sqrt(area / r));
      if (!(h < H && w < W)) continue;
      Erasure e;
      e.h = static_cast<int32_t>(h);
      e.w = static_cast<int32_t>(w);
      e.y = static_cast<int32_t>(slot_below(key, slot + 2, static_cast<uint64_t>(H - e.h + 1)));
      e.x = static_cast<int32_t>(slot_below(key, slot + 3, static_cast<uint64_t>(W - e.w + 1)));
      paint(e, s, 4, 6, plan);
      e.key = key;
      e.slot = slot + 4;
      if (s.whole(3) == 1) {
        for (uint32_t j = 0; j < 3; ++j) e.value[j] = static_cast<float>(slot_normal(key, slot + 4, 0, j));
        e.levels = false;
      } else if (s.whole(3) == 2) {
        e.paint = Erasure::Paint::field;
        e.levels = false;
      }
      plan.note("erase", {1.0 * e.x, 1.0 * e.y, 1.0 * e.w, 1.0 * e.h});
      plan.erase(e);
      break;
    }
  }
}

void check_erasing(const Step& s) {
  const size_t n = s.list(4).size();
  check(n != 2, "random_erasing", "value needs 1 or 3 numbers, got 2");
}

void draw_coarse_dropout(const Step& s, Key key, Planner& plan) {
  const auto holes = s.range(0);
  const auto n = static_cast<uint32_t>(holes[0]) +
                 static_cast<uint32_t>(slot_below(key, 1, static_cast<uint64_t>(holes[1] - holes[0]) + 1));
  for (uint32_t k = 0; k < n; ++k) {
    Erasure e;
    e.h = std::clamp(static_cast<int32_t>(s.uniform(1, key, 2 + 4 * k) * plan.h()), 1, plan.h());
    e.w = std::clamp(static_cast<int32_t>(s.uniform(2, key, 3 + 4 * k) * plan.w()), 1, plan.w());
    e.y = static_cast<int32_t>(slot_below(key, 4 + 4 * k, static_cast<uint64_t>(plan.h() - e.h + 1)));
    e.x = static_cast<int32_t>(slot_below(key, 5 + 4 * k, static_cast<uint64_t>(plan.w() - e.w + 1)));
    paint(e, s, 3, 4, plan);
    plan.note("dropout", {1.0 * e.x, 1.0 * e.y, 1.0 * e.w, 1.0 * e.h});
    plan.erase(e);
  }
}

void draw_grid_mask(const Step& s, Key key, Planner& plan) {
  const double d = s.uniform(0, key, 1) * std::min(plan.h(), plan.w());
  Erasure e;
  e.w = plan.w();
  e.h = plan.h();
  e.pitch = std::max(1.0, std::nearbyint(d));
  e.side = static_cast<int32_t>(std::nearbyint(e.pitch * (1 - s.num(1))));
  e.dx = static_cast<double>(slot_below(key, 2, static_cast<uint64_t>(e.pitch)));
  e.dy = static_cast<double>(slot_below(key, 3, static_cast<uint64_t>(e.pitch)));
  const double angle = s.uniform(2, key, 4) * (3.14159265358979323846 / 180);
  if (angle != 0) {
    e.cos = det_cos(angle);
    e.sin = det_sin(angle);
  }
  paint(e, s, 3, 4, plan);
  plan.note("grid_mask", {e.pitch, e.dx, e.dy});
  plan.erase(e);
}

void draw_hide_and_seek(const Step& s, Key key, Planner& plan) {
  const auto& sizes = s.list(0);
  const auto cell = static_cast<int32_t>(sizes[slot_below(key, 1, sizes.size())]);
  plan.note("hide_and_seek", {1.0 * cell});
  uint32_t k = 0;
  for (int32_t y = 0; y < plan.h(); y += cell) {
    for (int32_t x = 0; x < plan.w(); x += cell, ++k) {
      if (!slot_bernoulli(key, 2 + k, s.num(1))) continue;
      Erasure e;
      e.x = x;
      e.y = y;
      e.w = std::min(cell, plan.w() - x);
      e.h = std::min(cell, plan.h() - y);
      paint(e, s, 2, 3, plan);
      plan.erase(e);
    }
  }
}

}  // namespace

void add_erasing(std::vector<Operation>& out) {
  constexpr auto G = AugmentGroup::erase;
  Arg size = number_arg("size", 16, 0, 65'535);
  size.open = true;
  out.push_back({"cutout", "", 54, G, "squares whose centre is anywhere (1708.04552)", true,
                 {size, whole_arg("holes", 1, 1, 1000), value_arg(), levels_arg(), p_arg(), mask_arg()}, draw_cutout, check_cutout});
  Arg scale = range_arg("scale", {0.02, 0.33}, 0, 1, Widen::fixed), ratio = range_arg("ratio", {0.3, 3.3}, 0, 1000, Widen::fixed);
  scale.open = ratio.open = true;
  Arg count = range_arg("count", {1}, 1, 1000, Widen::fixed);
  count.integral = true;
  out.push_back({"random_erasing", "erase", 55, G, "a box of random area and shape (1708.04896)", true,
                 {p_arg(0.5, true), scale, ratio, choice_arg("mode", "const|rand|pixel"), value_arg(), count, levels_arg(),
                  mask_arg()},
                 draw_erasing, check_erasing});
  Arg holes = range_arg("holes", {1, 2}, 1, 1000, Widen::fixed);
  holes.integral = true;
  Arg height = range_arg("height", {0.1, 0.2}, 0, 1, Widen::fixed), width = range_arg("width", {0.1, 0.2}, 0, 1, Widen::fixed);
  height.open = width.open = true;
  out.push_back({"coarse_dropout", "", 56, G, "boxes fully inside", true,
                 {holes, height, width, value_arg(), levels_arg(), p_arg(), mask_arg()}, draw_coarse_dropout});
  Arg d = range_arg("d", {0.43, 1}, 0, 1, Widen::fixed);
  d.open = true;
  out.push_back({"grid_mask", "", 57, G, "a regular grid of squares (2001.04086)", true,
                 {d, number_arg("r", 0.6, 0, 1), range_arg("rotate", {0}, -360, 360, Widen::symmetric), value_arg(), levels_arg(),
                  p_arg(), mask_arg()},
                 draw_grid_mask});
  Arg grid{.name = "grid", .kind = ArgKind::numbers, .standard = {16, 32, 44, 56}, .low = 1, .high = 65'535,
           .max_count = 32, .integral = true};
  out.push_back({"hide_and_seek", "", 58, G, "cells of a grid, each hidden by chance (1811.02545)", true,
                 {grid, number_arg("p_hide", 0.5, 0, 1), value_arg(), levels_arg(), p_arg(), mask_arg()}, draw_hide_and_seek});
}

}  // namespace ballast::detail
