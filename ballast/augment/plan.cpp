#include <ballast/augment/plan.h>

#include <algorithm>
#include <cmath>

#include <ballast/augment/carry.h>
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

bool Erasure::covers(int32_t px, int32_t py) const {
  if (px < x || px >= x + w || py < y || py >= y + h) return false;
  if (pitch <= 0) return true;
  // The grid turns about the picture's middle; without a turn its cells are whole pixels.
  double u = px, v = py;
  if (sin != 0) {
    const double cx = x + w / 2.0, cy = y + h / 2.0, qx = px + 0.5 - cx, qy = py + 0.5 - cy;
    u = cx + cos * qx + sin * qy - 0.5;
    v = cy - sin * qx + cos * qy - 0.5;
  }
  return in_cell(u, dx) && in_cell(v, dy);
}

bool Erasure::in_cell(double t, double from) const {
  return std::fmod(std::fmod(t - from, pitch) + pitch, pitch) < side;
}

void Plan::clear() {
  actions.clear();
  stages.clear();
  warps.clear();
  pixels.clear();
  erasures.clear();
  blends.clear();
  geometry.clear();
  fields.clear();
}

std::string Plan::text() const {
  std::string out;
  for (const Action& a : actions) {
    const std::string size = std::to_string(a.w) + " x " + std::to_string(a.h), n = std::to_string(a.count);
    out += out.empty() ? "" : ", then ";
    switch (a.kind) {
      case Action::Kind::stage: {
        const Stage& s = stages[a.from];
        out += (s.x.resampled || s.y.resampled ? "one resampling to " : "one copy to ") + std::to_string(s.out_w()) + " x " +
               std::to_string(s.out_h());
        break;
      }
      case Action::Kind::warp: out += "one warp of " + n + " steps to " + size; break;
      case Action::Kind::pixels: out += n + " colour or pixel operations"; break;
      case Action::Kind::erase: out += n + " erased parts"; break;
      case Action::Kind::blend: out += "a blend of chains"; break;
    }
  }
  return out.empty() ? "none but the store" : out;
}

Planner::Planner(int32_t h, int32_t w, const DrawFacts& facts, Plan& plan, std::vector<DrawNote>* notes)
    : plan_(plan), facts_(facts), notes_(notes), h_(h), w_(w) {
  plan_.clear();
}

GeometryStep& Planner::add(GeometryStep::Kind kind, int32_t h, int32_t w) {
  check(h >= 1 && w >= 1 && h <= 65'535 && w <= 65'535, "pipeline", "a side must stay in [1, 65535], got ", h, "x", w);
  if (facts_.semantics == Semantics::sequential) flush();
  GeometryStep& g = plan_.geometry.emplace_back();
  g.kind = kind;
  g.step.in_h = h_;
  g.step.in_w = w_;
  g.step.out_h = h_ = h;
  g.step.out_w = w_ = w;
  return g;
}

void Planner::flip_x() {
  GeometryStep& g = add(GeometryStep::Kind::flip_x, h_, w_);
  g.step.g = {-1, 0, 1.0 * w_, 0, 1, 0, 0, 0, 1};
  g.step.onto = true;
}

void Planner::flip_y() {
  GeometryStep& g = add(GeometryStep::Kind::flip_y, h_, w_);
  g.step.g = {1, 0, 0, 0, -1, 1.0 * h_, 0, 0, 1};
  g.step.onto = true;
}

void Planner::transpose() {
  GeometryStep& g = add(GeometryStep::Kind::transpose, w_, h_);
  g.step.g = {0, 1, 0, 1, 0, 0, 0, 0, 1};
  g.step.onto = true;
}

std::vector<std::array<double, 4>> Planner::boxes() const { return carry_corners(plan_.geometry, facts_.boxes); }

void Planner::crop(int32_t top, int32_t left, int32_t h, int32_t w, bool keeps_centres) {
  GeometryStep& g = add(GeometryStep::Kind::crop, h, w);
  g.keeps_centres = keeps_centres;
  g.top = top;
  g.left = left;
  g.step.g = {1, 0, 1.0 * left, 0, 1, 1.0 * top, 0, 0, 1};
}

void Planner::pad(int32_t top, int32_t bottom, int32_t left, int32_t right, Border border, const Fill& fill) {
  if (top == 0 && bottom == 0 && left == 0 && right == 0) return;
  GeometryStep& g = add(GeometryStep::Kind::pad, h_ + top + bottom, w_ + left + right);
  g.top = top;
  g.bottom = bottom;
  g.left = left;
  g.right = right;
  g.step.g = {1, 0, -1.0 * left, 0, 1, -1.0 * top, 0, 0, 1};
  g.step.border = border;
  g.step.fill = fill;
}

void Planner::resize(int32_t h, int32_t w, Interpolation interpolation, bool antialias) {
  const double fy = static_cast<double>(h_) / h, fx = static_cast<double>(w_) / w;
  GeometryStep& g = add(GeometryStep::Kind::resize, h, w);
  g.step.g = {fx, 0, 0, 0, fy, 0, 0, 0, 1};
  g.step.onto = true;
  g.interpolation = interpolation;
  g.antialias = antialias;
}

void Planner::warp(const Matrix& inverse, int32_t h, int32_t w, Interpolation interpolation, bool antialias,
                   Border border, const Fill& fill) {
  GeometryStep& g = add(GeometryStep::Kind::warp, h, w);
  g.step.g = inverse;
  g.step.border = border;
  g.step.fill = fill;
  g.interpolation = interpolation;
  g.antialias = antialias;
  pending_warp_ = true;
}

void Planner::displace(std::unique_ptr<DisplacementField> field, double radial, Interpolation interpolation,
                       Border border, const Fill& fill) {
  warp({1, 0, 0, 0, 1, 0, 0, 0, 1}, h_, w_, interpolation, false, border, fill);
  WarpStep& step = plan_.geometry.back().step;
  step.radial = radial;
  if (field != nullptr) {
    step.field = field.get();
    plan_.fields.push_back(std::move(field));
  }
}

void Planner::shift(int32_t dx, int32_t dy, Border border, const Fill& fill) {
  if (dx == 0 && dy == 0) return;
  const int32_t h = h_, w = w_;
  pad(std::max(dy, 0), std::max(-dy, 0), std::max(dx, 0), std::max(-dx, 0), border, fill);
  crop(std::max(-dy, 0), std::max(-dx, 0), h, w);
}

Action& Planner::action(Action::Kind kind, size_t from) {
  Action& a = plan_.actions.emplace_back();
  a.kind = kind;
  a.from = from;
  a.count = 1;
  a.h = h_;
  a.w = w_;
  return a;
}

void Planner::pixel(PixelOp::Kind kind, std::array<double, 4> v, Key key) {
  flush();
  plan_.pixels.push_back({kind, v, key});
  if (!plan_.actions.empty() && plan_.actions.back().kind == Action::Kind::pixels) {
    ++plan_.actions.back().count;
  } else {
    action(Action::Kind::pixels, plan_.pixels.size() - 1);
  }
}

void Planner::erase(const Erasure& erasure) {
  flush();
  if (erasure.w <= 0 || erasure.h <= 0) return;
  plan_.erasures.push_back(erasure);
  plan_.erasures.back().behind = plan_.geometry.size();
  if (!plan_.actions.empty() && plan_.actions.back().kind == Action::Kind::erase) {
    ++plan_.actions.back().count;
  } else {
    action(Action::Kind::erase, plan_.erasures.size() - 1);
  }
}

Blend& Planner::blend() {
  flush();
  action(Action::Kind::blend, plan_.blends.size());
  return plan_.blends.emplace_back();
}

void Planner::flush() {
  const size_t end = plan_.geometry.size();
  if (pending_ == end) return;
  if (pending_warp_) {
    lower_warp(pending_, end);
  } else {
    lower_stages(pending_, end);
  }
  pending_ = end;
  pending_warp_ = false;
}

void Planner::lower_warp(size_t from, size_t to) {
  const size_t first = plan_.warps.size();
  // The last interpolating operation chooses; a resize's filters beyond bicubic have no warp form.
  WarpOptions options;
  for (size_t i = from; i < to; ++i) {
    const GeometryStep& g = plan_.geometry[i];
    plan_.warps.push_back(g.step);
    if (g.kind == GeometryStep::Kind::warp || g.kind == GeometryStep::Kind::resize) {
      options.interpolation = g.interpolation;
      options.antialias = g.antialias;
    }
  }
  if (options.interpolation != Interpolation::nearest && options.interpolation != Interpolation::bicubic) {
    options.interpolation = Interpolation::bilinear;
  }
  Action& a = action(Action::Kind::warp, first);
  a.count = to - from;
  a.warp = options;
  a.h = plan_.geometry[to - 1].step.out_h;
  a.w = plan_.geometry[to - 1].step.out_w;
}

void Planner::lower_stages(size_t from, size_t to) {
  const auto begin = [&](int32_t h, int32_t w) {
    action(Action::Kind::stage, plan_.stages.size());
    Stage& s = plan_.stages.emplace_back();
    s.y.init(h);
    s.x.init(w);
  };
  const auto stage = [&]() -> Stage& { return plan_.stages.back(); };
  const auto settle = [&] {
    if (stage().y.padded() || stage().x.padded()) begin(stage().out_h(), stage().out_w());
  };
  begin(plan_.geometry[from].step.in_h, plan_.geometry[from].step.in_w);
  for (size_t i = from; i < to; ++i) {
    const GeometryStep& g = plan_.geometry[i];
    // After a transposition the picture's rows run along the stage's x.
    const auto rows = [&]() -> AxisPlan& { return stage().transposed ? stage().x : stage().y; };
    const auto columns = [&]() -> AxisPlan& { return stage().transposed ? stage().y : stage().x; };
    switch (g.kind) {
      case GeometryStep::Kind::flip_x: columns().flip = !columns().flip; break;
      case GeometryStep::Kind::flip_y: rows().flip = !rows().flip; break;
      case GeometryStep::Kind::transpose: stage().transposed = !stage().transposed; break;
      case GeometryStep::Kind::crop:
        rows().crop(g.top, g.step.out_h);
        columns().crop(g.left, g.step.out_w);
        break;
      case GeometryStep::Kind::pad:
        settle();
        rows().pad(g.top, g.bottom);
        columns().pad(g.left, g.right);
        stage().mode = g.step.border;
        stage().fill = g.step.fill;
        break;
      case GeometryStep::Kind::resize:
        settle();
        if (rows().count == g.step.out_h && columns().count == g.step.out_w && !rows().resampled && !columns().resampled) {
          break;
        }
        rows().resize(g.step.out_h);
        columns().resize(g.step.out_w);
        stage().interpolation = g.interpolation;
        stage().antialias = g.antialias;
        break;
      case GeometryStep::Kind::warp: break;
    }
  }
}

void Planner::run(const std::vector<Step>& steps, Key sample_key) {
  const Key before = key_;
  key_ = sample_key;
  for (const Step& step : steps) {
    // One op index per step, not its position: leaving a step out keeps the other steps' draws.
    const Key own = sample_key.fold_in(uint64_t{256} * step.op->number + step.occurrence);
    if (step.op->p >= 0 && !slot_bernoulli(own, 0, step.num(static_cast<size_t>(step.op->p)))) continue;
    step.op->draw(step, own, *this);
  }
  key_ = before;
}

void Planner::finish() {
  flush();
  plan_.h = h_;
  plan_.w = w_;
}

void Planner::note(std::string_view name, std::initializer_list<double> values) {
  if (notes_ != nullptr) notes_->push_back({std::string(name), values});
}

void draw_plan(const std::vector<Step>& steps, int32_t h, int32_t w, Key key, const DrawFacts& facts, Plan& plan,
               std::vector<DrawNote>* notes) {
  Planner planner(h, w, facts, plan, notes);
  planner.run(steps, key);
  planner.finish();
}

}  // namespace ballast::detail
