#include <ballast/augment/execute.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include <ballast/augment/erase.h>
#include <ballast/augment/normalize_kernel.h>
#include <ballast/base/check.h>

namespace ballast::detail {

namespace {

/// Source pixels that an axis of the first stage reads.
std::pair<int32_t, int32_t> axis_needs(const AxisPlan& axis, const Stage& stage) {
  const AxisSpec spec = axis.spec();
  if (unchanged(spec)) return {axis.valid, axis.valid + axis.valid_count};
  return source_range(spec, stage.interpolation, stage.antialias);
}

uint8_t* room(std::vector<uint8_t>& memory, size_t bytes) {
  if (memory.size() < bytes + 64) memory.resize(bytes + 64);
  return memory.data();
}

/// Runs one stage on `source`, whose corner is pixel (top, left) of the stage's source. Calls store(y, row, flip) for
/// each row of the result; `flip`: the row is still to be mirrored.
template <class Store>
void run_stage(const Stage& stage, ImageView source, int32_t top, int32_t left, Scratch::Impl& s, Store&& store) {
  const AxisPlan &py = stage.y, &px = stage.x;
  AxisSpec y = py.spec(), x = px.spec();
  const bool pad_x = px.padded();
  bool flip = px.flip;
  if (flip && !pad_x && !unchanged(x)) {
    x.flip = true;
    flip = false;
  }
  const int32_t c = source.c;
  s.resampler.start(source, top, left, y, x, stage.interpolation, stage.antialias);
  const auto bytes = static_cast<size_t>(px.valid_count) * static_cast<size_t>(c);
  uint8_t* made = room(s.row, bytes);
  uint8_t* padded = pad_x || py.padded() ? room(s.padded_row, static_cast<size_t>(px.count) * static_cast<size_t>(c))
                                         : nullptr;
  int32_t last = -1;
  const uint8_t* content = nullptr;
  for (int32_t i = 0; i < py.count; ++i) {
    const int64_t offset = int64_t{py.window} + (py.flip ? py.count - 1 - i : i) - py.valid;
    const int32_t row = fold_index(offset, py.valid_count, stage.mode);
    if (row < 0) {
      for (int32_t j = 0; j < px.count; ++j) std::copy_n(stage.fill.begin(), std::min(c, 3), padded + j * c);
      if (c == 4) {
        for (int32_t j = 0; j < px.count; ++j) padded[j * c + 3] = 255;
      }
      store(i, padded, flip);
      continue;
    }
    if (row != last || content == nullptr) content = s.resampler.row_u8(row, made);
    last = row;
    if (!pad_x) {
      store(i, content, flip);
      continue;
    }
    const int32_t before = std::max(0, px.valid - px.window);
    const int32_t from = std::max(0, px.window - px.valid);
    const int32_t body = std::min(px.count - before, px.valid_count - from);
    if (body > 0) {
      std::memcpy(padded + static_cast<ptrdiff_t>(before) * c, content + static_cast<ptrdiff_t>(from) * c,
                  static_cast<size_t>(body) * static_cast<size_t>(c));
    }
    const auto edge = [&](int32_t j) {
      const int32_t column = fold_index(int64_t{px.window} + j - px.valid, px.valid_count, stage.mode);
      uint8_t* out = padded + static_cast<ptrdiff_t>(j) * c;
      if (column >= 0) {
        std::copy_n(content + static_cast<ptrdiff_t>(column) * c, c, out);
      } else {
        std::copy_n(stage.fill.begin(), std::min(c, 3), out);
        if (c == 4) out[3] = 255;
      }
    };
    for (int32_t j = 0; j < std::min(before, px.count); ++j) edge(j);
    for (int32_t j = std::max(before + std::max(body, 0), 0); j < px.count; ++j) edge(j);
    store(i, padded, flip);
  }
}

void mirror(uint8_t* row, int32_t w, int32_t c) {
  for (int32_t a = 0, b = w - 1; a < b; ++a, --b) {
    std::swap_ranges(row + static_cast<ptrdiff_t>(a) * c, row + static_cast<ptrdiff_t>(a + 1) * c,
                     row + static_cast<ptrdiff_t>(b) * c);
  }
}

/// n pixels of a row down a column, `step` bytes apart.
template <int32_t kChannels>
void put_column(const uint8_t* row, int32_t n, uint8_t* out, ptrdiff_t step) {
  for (int32_t x = 0; x < n; ++x) std::memcpy(out + x * step, row + static_cast<ptrdiff_t>(x) * kChannels, kChannels);
}

/// A stage's rows into an image, mirrored and transposed as it says.
void stage_to_image(const Stage& stage, const Source& source, Image& out, Scratch::Impl& s) {
  const int32_t c = source.pixels.c;
  if (!stage.transposed) {
    out.reset(stage.y.count, stage.x.count, c);
    run_stage(stage, source.pixels, source.top, source.left, s, [&](int32_t y, const uint8_t* row, bool flip) {
      std::memcpy(out.row_u8(y), row, static_cast<size_t>(out.w()) * static_cast<size_t>(c));
      if (flip) mirror(out.row_u8(y), out.w(), c);
    });
    return;
  }
  out.reset(stage.x.count, stage.y.count, c);
  run_stage(stage, source.pixels, source.top, source.left, s, [&](int32_t y, const uint8_t* row, bool flip) {
    const int32_t n = stage.x.count;
    const ptrdiff_t down = n > 1 ? out.row_u8(1) - out.row_u8(0) : 0;
    uint8_t* top = out.row_u8(flip ? n - 1 : 0) + static_cast<ptrdiff_t>(y) * c;
    static constexpr std::array put = {put_column<1>, put_column<2>, put_column<3>, put_column<4>};
    put[static_cast<size_t>(c - 1)](row, n, top, flip ? -down : down);
  });
}

void copy_to(ImageView from, Image& to) {
  to.reset(from.h, from.w, from.c);
  for (int32_t y = 0; y < from.h; ++y) {
    std::memcpy(to.row_u8(y), from.row_u8(y), static_cast<size_t>(from.w) * static_cast<size_t>(from.c));
  }
}

/// out = round((1 - m) x + m sum w_i chain_i(x)).
void run_blend(const Blend& blend, Image& image, Scratch::Impl& s) {
  if (s.inner.empty()) s.inner.push_back(std::make_unique<Scratch::Impl>());
  const size_t n = static_cast<size_t>(image.w()) * static_cast<size_t>(image.c());
  s.sums.assign(n * static_cast<size_t>(image.h()), 0.0F);
  for (size_t i = 0; i < blend.chains.size(); ++i) {
    const Plan& chain = blend.chains[i];
    const ImageView out = run_to_image(chain, chain.actions.size(), {image.view(), 0, 0}, *s.inner[0]);
    const auto w = static_cast<float>(blend.weights[i]);
    for (int32_t y = 0; y < image.h(); ++y) {
      const uint8_t* row = out.row_u8(y);
      float* sum = s.sums.data() + static_cast<size_t>(y) * n;
      for (size_t x = 0; x < n; ++x) sum[x] += w * static_cast<float>(row[x]);
    }
  }
  const auto m = static_cast<float>(blend.m), rest = static_cast<float>(1 - blend.m);
  for (int32_t y = 0; y < image.h(); ++y) {
    uint8_t* row = image.row_u8(y);
    const float* sum = s.sums.data() + static_cast<size_t>(y) * n;
    for (size_t x = 0; x < n; ++x) {
      const float v = rest * static_cast<float>(row[x]) + m * sum[x];
      row[x] = static_cast<uint8_t>(std::nearbyint(std::clamp(v, 0.0F, 255.0F)));
    }
  }
}

/// Runs actions one after the other. `owned`: the buffer that holds the picture, -1 while it is the source's.
struct Runner {
  const Plan& plan;
  Scratch::Impl& s;
  Source at;
  const float* a = nullptr;
  const float* b = nullptr;
  int owned = -1;

  Image& own() {
    if (owned < 0) {
      owned = 0;
      copy_to(at.pixels, s.images[0]);
      at = {s.images[0].view(), 0, 0};
    }
    return s.images[static_cast<size_t>(owned)];
  }

  void step(const Action& action) {
    Image& next = s.images[owned == 0 ? 1 : 0];
    switch (action.kind) {
      case Action::Kind::stage: stage_to_image(plan.stages[action.from], at, next, s); break;
      case Action::Kind::warp:
        warp(at.pixels, at.top, at.left, {plan.warps.data() + action.from, action.count}, action.warp, next, s.warp);
        break;
      case Action::Kind::pixels:
        run_pixel_ops({plan.pixels.data() + action.from, action.count}, own(), s.pixels);
        at = {own().view(), 0, 0};
        return;
      case Action::Kind::erase: {
        static constexpr float one[3] = {1, 1, 1}, none[3] = {};
        Image& image = own();
        for (size_t i = 0; i < action.count; ++i) {
          erase_bytes(plan.erasures[action.from + i], image, a != nullptr ? a : one, b != nullptr ? b : none);
        }
        return;
      }
      case Action::Kind::blend: run_blend(plan.blends[action.from], own(), s); return;
    }
    owned = owned == 0 ? 1 : 0;
    at = {next.view(), 0, 0};
  }
};

}  // namespace

Roi needed(const Plan& plan, int32_t h, int32_t w) {
  if (!plan.actions.empty()) {
    const Action& first = plan.actions.front();
    if (first.kind == Action::Kind::stage) {
      const Stage& stage = plan.stages[first.from];
      const auto y = axis_needs(stage.y, stage), x = axis_needs(stage.x, stage);
      return {x.first, y.first, x.second, y.second};
    }
    if (first.kind == Action::Kind::warp) {
      const WarpSource part = warp_source({plan.warps.data() + first.from, first.count});
      return {part.x0, part.y0, part.x1, part.y1};
    }
  }
  return {0, 0, w, h};
}

size_t before_erasures(const Plan& plan) {
  size_t n = plan.actions.size();
  while (n > 0 && plan.actions[n - 1].kind == Action::Kind::erase) --n;
  return n;
}

ImageView run_to_image(const Plan& plan, size_t count, Source source, Scratch::Impl& s) {
  Runner run{plan, s, source};
  for (size_t i = 0; i < count; ++i) run.step(plan.actions[i]);
  return run.at.pixels;
}

void run_to_slot(const Plan& plan, Source source, const float* a, const float* b, BatchSlot& slot, int64_t row,
                 Scratch::Impl& s) {
  check(row >= 0 && row < slot.capacity, "pipeline", "row must be in [0, ", slot.capacity, "), got ", row);
  check(plan.h == slot.h && plan.w == slot.w, "pipeline", "the result is ", plan.h, "x", plan.w, ", the batch holds ",
        slot.h, "x", slot.w, "; end with a crop or a resize of fixed size");
  const size_t count = before_erasures(plan);
  float* out = slot.row(row);
  const ptrdiff_t plane = static_cast<ptrdiff_t>(slot.h) * slot.w;
  const auto store = [&](int32_t y, const uint8_t* pixels, bool flip) {
    const int64_t at = int64_t{y} * slot.w;
    if (slot.layout == Layout::chw) {
      normalize_row(pixels, slot.w, slot.c, flip, a, b, out + at, plane);
    } else {
      normalize_row(pixels, slot.w, slot.c, flip, a, b, out + at * slot.c, 0);
    }
  };
  Runner run{plan, s, source, a, b};
  const bool straight = count > 0 && plan.actions[count - 1].kind == Action::Kind::stage &&
                        !plan.stages[plan.actions[count - 1].from].transposed;
  for (size_t i = 0; i + (straight ? 1 : 0) < count; ++i) run.step(plan.actions[i]);
  if (straight) {
    run_stage(plan.stages[plan.actions[count - 1].from], run.at.pixels, run.at.top, run.at.left, s, store);
  } else {
    for (int32_t y = 0; y < slot.h; ++y) store(y, run.at.pixels.row_u8(y), false);
  }
  for (size_t i = count; i < plan.actions.size(); ++i) {
    for (size_t k = 0; k < plan.actions[i].count; ++k) {
      erase_floats(plan.erasures[plan.actions[i].from + k], out, slot.h, slot.w, slot.c, slot.layout, a, b);
    }
  }
}

void run_to_preview(const Plan& plan, Source source, const float* a, const float* b, Image& out, Scratch::Impl& s) {
  Runner run{plan, s, source, a, b};
  for (const Action& action : plan.actions) run.step(action);
  copy_to(run.at.pixels, out);
}

void run_to_heat(Plan& plan, Image& heat, Scratch::Impl& s) {
  for (Stage& stage : plan.stages) stage.fill = {};
  for (WarpStep& step : plan.warps) step.fill = {};
  Runner run{plan, s, {heat.view(), 0, 0}};
  for (const Action& action : plan.actions) {
    if (action.kind == Action::Kind::stage || action.kind == Action::Kind::warp) run.step(action);
  }
  if (run.owned >= 0) copy_to(run.at.pixels, heat);
}

}  // namespace ballast::detail
