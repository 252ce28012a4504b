#include <ballast/augment/plan.h>

#include <algorithm>
#include <cmath>

#include <ballast/base/check.h>
#include <ballast/base/detmath.h>

namespace ballast::detail {

void AxisPlan::crop(int32_t from, int32_t n) {
  window += flip ? count - from - n : from;
  count = n;
  if (!padded()) {
    valid = window;
    valid_count = count;
  }
}

void AxisPlan::pad(int32_t before, int32_t after) {
  window -= flip ? after : before;
  count += before + after;
}

void AxisPlan::resize(int32_t n) {
  if (n == count && !resampled) return;
  if (resampled) {
    const double scale = source / full;
    const double from = begin + window * scale, length = count * scale;
    low = std::max(low, static_cast<int32_t>(std::floor(from)));
    high = std::min(high, static_cast<int32_t>(std::ceil(from + length)));
    begin = from;
    source = length;
  } else {
    begin = low = window;
    source = count;
    high = window + count;
  }
  full = valid_count = count = n;
  valid = window = 0;
  resampled = true;
}

namespace {

class Planner {
 public:
  Planner(int32_t h, int32_t w, std::vector<Stage>& stages) : stages_(stages) {
    stages_.clear();
    begin_stage(h, w);
  }

  void draw(const HorizontalFlip& o, Key key) {
    if (slot_bernoulli(key, 0, o.p)) stage().x.flip = !stage().x.flip;
  }

  void draw(const ResizeStep& o, Key) {
    const int32_t h = stage().y.count, w = stage().x.count;
    if (o.size.both || o.mode == ResizeStep::Mode::exact) {
      resize(o.size.h, o.size.w, o.interpolation, o.antialias);
      return;
    }
    const bool longer = o.mode == ResizeStep::Mode::longer;
    const int32_t base = longer ? std::max(h, w) : std::min(h, w);
    const int32_t other = longer ? std::min(h, w) : std::max(h, w);
    int64_t size = o.size.h;
    int64_t scaled = size * other / base;
    if (o.max_size != 0 && scaled > o.max_size) {
      size = int64_t{o.max_size} * size / scaled;
      scaled = o.max_size;
    }
    const bool h_is_base = longer ? h >= w : h <= w;
    const auto side = [](int64_t n) { return static_cast<int32_t>(std::clamp<int64_t>(n, 1, 65'535)); };
    resize(side(h_is_base ? size : scaled), side(h_is_base ? scaled : size), o.interpolation, o.antialias);
  }

  void draw(const RandomResizedCrop& o, Key key) {
    const int32_t H = stage().y.count, W = stage().x.count;
    const double log_low = det_log(o.ratio[0]), log_high = det_log(o.ratio[1]);
    int32_t h = 0, w = 0, top = 0, left = 0;
    bool found = false;
    for (uint32_t t = 0; t < 10 && !found; ++t) {
      const double area = static_cast<double>(W) * H *
                          (o.scale[0] + (o.scale[1] - o.scale[0]) * slot_uniform(key, 1, t));
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
      const double ratio = static_cast<double>(W) / H;
      w = W;
      h = H;
      if (ratio < o.ratio[0]) {
        h = std::clamp(static_cast<int32_t>(std::nearbyint(W / o.ratio[0])), 1, H);
      } else if (ratio > o.ratio[1]) {
        w = std::clamp(static_cast<int32_t>(std::nearbyint(H * o.ratio[1])), 1, W);
      }
      top = (H - h) / 2;
      left = (W - w) / 2;
    }
    Interpolation interpolation = o.interpolation;
    if (o.random_interpolation) {
      interpolation = slot_below(key, 5, 2) == 0 ? Interpolation::bilinear : Interpolation::bicubic;
    }
    stage().y.crop(top, h);
    stage().x.crop(left, w);
    resize(o.size.h, o.size.w, interpolation, o.antialias);
  }

  void draw(const RandomCrop& o, Key key) {
    pad(o.padding[1], o.padding[3], o.padding[0], o.padding[2], o.padding_mode, o.fill);
    if (o.pad_if_needed) {
      const int32_t dy = std::max(0, o.size.h - stage().y.count), dx = std::max(0, o.size.w - stage().x.count);
      pad(dy, dy, dx, dx, o.padding_mode, o.fill);
    }
    const int32_t h = stage().y.count, w = stage().x.count;
    check(o.size.h <= h && o.size.w <= w, "random_crop", o.size.h, "x", o.size.w,
          " does not fit the padded ", h, "x", w, " image; set padding, pad_if_needed or a smaller size");
    const auto top = slot_below(key, 1, static_cast<uint64_t>(h - o.size.h + 1));
    const auto left = slot_below(key, 2, static_cast<uint64_t>(w - o.size.w + 1));
    stage().y.crop(static_cast<int32_t>(top), o.size.h);
    stage().x.crop(static_cast<int32_t>(left), o.size.w);
  }

  void draw(const CenterCrop& o, Key) {
    const int32_t dy = std::max(0, o.size.h - stage().y.count), dx = std::max(0, o.size.w - stage().x.count);
    pad(dy / 2, (dy + 1) / 2, dx / 2, (dx + 1) / 2, PaddingMode::constant, {});
    const int32_t h = stage().y.count, w = stage().x.count;
    const auto middle = [](int32_t spare) { return static_cast<int32_t>(std::nearbyint(spare / 2.0)); };
    stage().y.crop(middle(h - o.size.h), o.size.h);
    stage().x.crop(middle(w - o.size.w), o.size.w);
  }

  void draw(const NormalizeStep&, Key) {}

 private:
  Stage& stage() { return stages_.back(); }

  void begin_stage(int32_t h, int32_t w) {
    stages_.emplace_back();
    stage().y.init(h);
    stage().x.init(w);
  }

  void settle_padding() {
    if (stage().y.padded() || stage().x.padded()) begin_stage(stage().y.count, stage().x.count);
  }

  void resize(int32_t h, int32_t w, Interpolation interpolation, bool antialias) {
    settle_padding();
    if (h == stage().y.count && w == stage().x.count && !stage().y.resampled && !stage().x.resampled) return;
    stage().y.resize(h);
    stage().x.resize(w);
    stage().interpolation = interpolation;
    stage().antialias = antialias;
  }

  void pad(int32_t top, int32_t bottom, int32_t left, int32_t right, PaddingMode mode,
           const std::array<uint8_t, 3>& fill) {
    if (top == 0 && bottom == 0 && left == 0 && right == 0) return;
    settle_padding();
    stage().y.pad(top, bottom);
    stage().x.pad(left, right);
    stage().mode = mode;
    stage().fill = fill;
  }

  std::vector<Stage>& stages_;
};

}  // namespace

void plan(const std::vector<Step>& steps, int32_t h, int32_t w, Key key, std::vector<Stage>& stages) {
  Planner planner(h, w, stages);
  for (const Step& step : steps) {
    // One op index per step, not its position: leaving a step out keeps the other steps' draws.
    const Key own = key.fold_in(uint64_t{256} * step.number + step.occurrence);
    std::visit([&](const auto& operation) { planner.draw(operation, own); }, step.operation);
  }
}

}  // namespace ballast::detail
