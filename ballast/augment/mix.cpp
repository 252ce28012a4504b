#include <ballast/augment/mix.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include <ballast/base/check.h>
#include <ballast/image/blend_kernel.h>

namespace ballast {

std::string_view to_string(MixMode mode) {
  return mode == MixMode::batch ? "batch" : mode == MixMode::pair ? "pair" : "elem";
}

MixMode parse_mix_mode(std::string_view text) {
  for (const MixMode mode : {MixMode::batch, MixMode::pair, MixMode::elem}) {
    if (text == to_string(mode)) return mode;
  }
  fail("mixup", "mode must be batch, pair or elem, got \"", text, '"');
}

void check_mix(const MixOptions& o, int64_t num_classes) {
  const auto share = [](double p) { return p >= 0 && p <= 1; };
  check(o.mixup_alpha >= 0 && std::isfinite(o.mixup_alpha), "mixup", "mixup_alpha must be >= 0, got ", o.mixup_alpha);
  check(o.cutmix_alpha >= 0 && std::isfinite(o.cutmix_alpha), "cutmix", "cutmix_alpha must be >= 0, got ", o.cutmix_alpha);
  check(share(o.prob), "mixup", "prob must be in [0, 1], got ", o.prob);
  check(share(o.switch_prob), "mixup", "switch_prob must be in [0, 1], got ", o.switch_prob);
  if (o.cutmix_minmax) {
    const auto& m = *o.cutmix_minmax;
    check(m[0] >= 0 && m[0] <= m[1] && m[1] <= 1, "cutmix", "cutmix_minmax must be an increasing pair in [0, 1], got [", m[0],
          ", ", m[1], "]");
  }
  check(!o.on() || num_classes >= 2, o.mixup_alpha > 0 ? "mixup" : "cutmix", "num_classes must be at least 2, got ", num_classes);
}

namespace {

/// Lambda, kind and box of one draw.
MixDraw draw_one(const MixOptions& o, Key key, int32_t h, int32_t w) {
  MixDraw d;
  if (!slot_bernoulli(key, 0, o.prob)) return d;
  const bool cutmix_on = o.cutmix_alpha > 0 || o.cutmix_minmax;
  const bool cutmix = cutmix_on && (o.mixup_alpha <= 0 || slot_bernoulli(key, 1, o.switch_prob));
  if (!cutmix) {
    d.lambda = static_cast<float>(slot_beta(key, 2, o.mixup_alpha, o.mixup_alpha));
    return d;
  }
  if (o.cutmix_minmax) {
    const auto& m = *o.cutmix_minmax;
    d.h = static_cast<int32_t>(h * (m[0] + (m[1] - m[0]) * slot_uniform(key, 2)));
    d.w = static_cast<int32_t>(w * (m[0] + (m[1] - m[0]) * slot_uniform(key, 2, 1)));
    d.y = static_cast<int32_t>(slot_below(key, 3, static_cast<uint64_t>(h - d.h + 1)));
    d.x = static_cast<int32_t>(slot_below(key, 4, static_cast<uint64_t>(w - d.w + 1)));
  } else {
    const double side = std::sqrt(1 - slot_beta(key, 2, o.cutmix_alpha, o.cutmix_alpha));
    const auto cw = static_cast<int32_t>(w * side), ch = static_cast<int32_t>(h * side);
    const auto cy = static_cast<int32_t>(slot_below(key, 3, static_cast<uint64_t>(h)));
    const auto cx = static_cast<int32_t>(slot_below(key, 4, static_cast<uint64_t>(w)));
    d.x = std::max(0, cx - cw / 2);
    d.y = std::max(0, cy - ch / 2);
    d.w = std::min(w, cx - cw / 2 + cw) - d.x;
    d.h = std::min(h, cy - ch / 2 + ch) - d.y;
  }
  if (d.w <= 0 || d.h <= 0) d.w = d.h = 0;
  d.lambda = static_cast<float>(1 - static_cast<double>(d.w) * d.h / (static_cast<double>(w) * h));
  return d;
}

}  // namespace

std::vector<MixDraw> draw_mix(const MixOptions& o, Key key, const std::vector<int64_t>& rows, int32_t h, int32_t w,
                              std::vector<size_t>& cycle_begins) {
  const size_t n = rows.size();
  std::vector<MixDraw> draws;
  cycle_begins.clear();
  if (n < 2) return draws;
  const Permutation order(key.fold_in(5), n);
  std::vector<int64_t> cycle(n);
  for (size_t i = 0; i < n; ++i) cycle[i] = rows[order(i)];
  // [begin, end) of the order form a cycle.
  const auto add = [&](size_t begin, size_t end, const auto& drawn) {
    cycle_begins.push_back(draws.size());
    for (size_t i = begin; i < end; ++i) {
      MixDraw d = drawn(i);
      d.row = cycle[i];
      d.partner = cycle[i + 1 < end ? i + 1 : begin];
      draws.push_back(d);
    }
  };
  if (o.mode == MixMode::pair) {
    for (size_t begin = 0; begin + 1 < n;) {
      const size_t end = n - begin == 3 ? n : begin + 2;
      const MixDraw shared = draw_one(o, key.fold_in(begin / 2), h, w);
      add(begin, end, [&](size_t) { return shared; });
      begin = end;
    }
  } else if (o.mode == MixMode::elem) {
    add(0, n, [&](size_t i) { return draw_one(o, key.fold_in(static_cast<uint64_t>(cycle[i])), h, w); });
  } else {
    const MixDraw shared = draw_one(o, key, h, w);
    add(0, n, [&](size_t) { return shared; });
  }
  return draws;
}

void mix_batch(BatchSlot& slot, const MixOptions& options, Key key, std::vector<float>& saved) {
  slot.mixed = false;
  if (!options.on()) return;
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < slot.n; ++i) {
    slot.partner[static_cast<size_t>(i)] = i;
    slot.lambda[static_cast<size_t>(i)] = 1;
    if (slot.weight[static_cast<size_t>(i)] != 0) rows.push_back(i);
  }
  std::vector<size_t> begins;
  const std::vector<MixDraw> draws = draw_mix(options, key, rows, slot.h, slot.w, begins);
  const auto size = static_cast<size_t>(slot.sample_size());
  const ptrdiff_t plane = static_cast<ptrdiff_t>(slot.h) * slot.w;
  size_t next_begin = 0;
  for (size_t k = 0; k < draws.size(); ++k) {
    const MixDraw& d = draws[k];
    float* row = slot.row(d.row);
    if (next_begin < begins.size() && begins[next_begin] == k) {
      saved.resize(size);
      std::memcpy(saved.data(), row, size * sizeof(float));
      ++next_begin;
    }
    if (d.lambda >= 1) continue;
    slot.mixed = true;
    slot.partner[static_cast<size_t>(d.row)] = d.partner;
    slot.lambda[static_cast<size_t>(d.row)] = d.lambda;
    // The last of a cycle takes its first, which is mixed by now.
    const bool last = k + 1 == draws.size() || (next_begin < begins.size() && begins[next_begin] == k + 1);
    const float* partner = last ? saved.data() : slot.row(d.partner);
    if (d.w == 0) {
      detail::blend(row, partner, d.lambda, row, size);
      continue;
    }
    const bool planes = slot.layout == Layout::chw;
    const ptrdiff_t step = planes ? 1 : slot.c;
    for (int32_t j = 0; j < (planes ? slot.c : 1); ++j) {
      for (int32_t y = d.y; y < d.y + d.h; ++y) {
        const ptrdiff_t at = j * plane + (static_cast<ptrdiff_t>(y) * slot.w + d.x) * step;
        std::memcpy(row + at, partner + at, static_cast<size_t>(d.w * step) * sizeof(float));
      }
    }
  }
}

}  // namespace ballast
