#include <ballast/augment/mix_samples.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>

#include <ballast/base/check.h>

namespace ballast {
namespace {

std::string size_text(const Sample& s) {
  return std::to_string(s.image.h()) + "x" + std::to_string(s.image.w()) + "x" + std::to_string(s.image.c());
}

std::string named(const Sample& s) { return s.name.empty() ? "" : " (" + s.name + ")"; }

Sample copy_of(const Sample& s) {
  Sample out{.image = s.image.clone(), .masks = {}, .boxes = s.boxes, .points = s.points, .name = s.name};
  for (const Mask& m : s.masks) out.masks.push_back({m.px.clone(), m.kind, m.ignore});
  return out;
}

bool blends(const MixDraw& d) { return d.lambda < 1 && d.w == 0; }

int32_t largest_source(const Boxes& boxes) {
  return boxes.source.empty() ? -1 : *std::ranges::max_element(boxes.source);
}

uint16_t* row_u16(const Image& image, int32_t y) { return reinterpret_cast<uint16_t*>(image.view().row(y)); }

int32_t id_at(const Mask& mask, int32_t y, int32_t x) {
  return mask.px.dtype() == DType::u8 ? mask.px.row_u8(y)[x] : row_u16(mask.px, y)[x];
}

/// Largest id of an instance in the mask.
int32_t largest_id(const Mask& mask) {
  int32_t most = 0;
  for (int32_t y = 0; y < mask.px.h(); ++y) {
    for (int32_t x = 0; x < mask.px.w(); ++x) {
      if (const int32_t id = id_at(mask, y, x); id != mask.ignore) most = std::max(most, id);
    }
  }
  return most;
}

/// What the partner's instances are counted on from: behind the sample's boxes and ids.
int32_t offset_of(const Sample& s) {
  int32_t most = largest_source(s.boxes) + 1;
  for (const Mask& m : s.masks) {
    if (m.kind == Mask::Kind::instance_ids) most = std::max(most, largest_id(m));
  }
  return most;
}

void check_alike(std::span<const Sample> samples) {
  for (const Sample& s : samples) {
    check_sample(s);
    const Sample& first = samples.front();
    check(s.image.h() == first.image.h() && s.image.w() == first.image.w() && s.image.c() == first.image.c() &&
              s.image.dtype() == DType::u8,
          "mixup", "samples must have one size, got ", size_text(first), " and ", size_text(s), named(s));
    bool same = s.masks.size() == first.masks.size();
    for (size_t k = 0; same && k < s.masks.size(); ++k) {
      const Mask &a = first.masks[k], &b = s.masks[k];
      same = a.kind == b.kind && a.px.c() == b.px.c() && a.px.dtype() == b.px.dtype();
    }
    check(same, "mixup", "samples must have masks of the same kinds, got others", named(s));
  }
}

void check_draw(const MixDraw& d, std::span<const Sample> samples) {
  if (d.lambda >= 1) return;
  const Sample &s = samples[static_cast<size_t>(d.row)], &partner = samples[static_cast<size_t>(d.partner)];
  for (size_t k = 0; k < s.masks.size(); ++k) {
    const Mask &m = s.masks[k], &other = partner.masks[k];
    check(m.kind == Mask::Kind::heat || !blends(d), "mixup", "class masks cannot be blended; use cutmix or heat masks");
    if (m.kind != Mask::Kind::instance_ids) continue;
    const int32_t most = offset_of(s) + largest_id(other), limit = m.px.dtype() == DType::u8 ? 254 : 65'534;
    check(most <= limit, "cutmix", "instance ids must be at most ", limit, ", got ", most, " of two pictures together",
          named(s));
  }
}

void blend(Image& a, const Image& b, float lam) {
  const float rest = 1 - lam;
  for (int32_t y = 0; y < a.h(); ++y) {
    uint8_t* to = a.row_u8(y);
    const uint8_t* from = b.row_u8(y);
    for (int32_t x = 0; x < a.w() * a.c(); ++x) {
      const float v = lam * static_cast<float>(to[x]) + rest * static_cast<float>(from[x]);
      to[x] = static_cast<uint8_t>(std::nearbyint(v));
    }
  }
}

void paste(Image& to, const Image& from, const MixDraw& d) {
  const size_t each = static_cast<size_t>(to.c()) * (to.dtype() == DType::u16 ? 2 : 1);
  for (int32_t y = d.y; y < d.y + d.h; ++y) {
    const size_t at = static_cast<size_t>(d.x) * each;
    std::memcpy(to.view().row(y) + at, from.view().row(y) + at, static_cast<size_t>(d.w) * each);
  }
}

void paste_instances(Mask& to, const Mask& from, const MixDraw& d, int32_t offset) {
  for (int32_t y = d.y; y < d.y + d.h; ++y) {
    for (int32_t x = d.x; x < d.x + d.w; ++x) {
      const int32_t id = id_at(from, y, x), moved = id == from.ignore ? to.ignore : id == 0 ? 0 : id + offset;
      if (to.px.dtype() == DType::u8) {
        to.px.row_u8(y)[x] = static_cast<uint8_t>(moved);
      } else {
        row_u16(to.px, y)[x] = static_cast<uint16_t>(moved);
      }
    }
  }
}

double area(double x1, double y1, double x2, double y2) { return std::max(0.0, x2 - x1) * std::max(0.0, y2 - y1); }

/// The part of box i inside of the drawn box.
std::array<double, 4> inside(const Boxes& b, size_t i, const MixDraw& d) {
  const double left = d.x, top = d.y, right = d.x + d.w, bottom = d.y + d.h;
  return {std::clamp<double>(b.x1[i], left, right), std::clamp<double>(b.y1[i], top, bottom),
          std::clamp<double>(b.x2[i], left, right), std::clamp<double>(b.y2[i], top, bottom)};
}

void mix_boxes(Sample& s, const Sample& partner, const MixDraw& d, const BoxOptions& o, int32_t offset) {
  const auto whole = [](const Boxes& b, size_t i) { return area(b.x1[i], b.y1[i], b.x2[i], b.y2[i]); };
  if (!blends(d)) {
    std::vector<int64_t> kept;
    for (size_t i = 0; i < s.boxes.x1.size(); ++i) {
      const auto in = inside(s.boxes, i, d);
      const double all = whole(s.boxes, i), left = all - area(in[0], in[1], in[2], in[3]);
      if (left > 0 && left >= o.min_visibility * all) kept.push_back(static_cast<int64_t>(i));
    }
    s.boxes.keep(kept);
  }
  const Boxes& other = partner.boxes;
  for (size_t i = 0; i < other.x1.size(); ++i) {
    std::array<double, 4> b = {other.x1[i], other.y1[i], other.x2[i], other.y2[i]};
    if (!blends(d)) {
      b = inside(other, i, d);
      const double w = b[2] - b[0], h = b[3] - b[1];
      if (!(w > 0 && h > 0 && w >= o.min_side && h >= o.min_side && w * h >= o.min_area &&
            w * h >= o.min_visibility * whole(other, i) && std::max(w / h, h / w) <= o.max_aspect)) {
        continue;
      }
    }
    s.boxes.add(static_cast<float>(b[0]), static_cast<float>(b[1]), static_cast<float>(b[2]), static_cast<float>(b[3]),
                other.label[i]);
    s.boxes.source.back() = other.source[i] + offset;
  }
}

void mix_points(Sample& s, const Sample& partner, const MixDraw& d) {
  const auto in = [&](const Keypoints& p, size_t i) {
    return p.x[i] >= static_cast<float>(d.x) && p.x[i] < static_cast<float>(d.x + d.w) &&
           p.y[i] >= static_cast<float>(d.y) && p.y[i] < static_cast<float>(d.y + d.h);
  };
  if (!blends(d)) {
    std::vector<int64_t> kept;
    for (size_t i = 0; i < s.points.x.size(); ++i) {
      if (!in(s.points, i)) kept.push_back(static_cast<int64_t>(i));
    }
    s.points.keep(kept);
  }
  const Keypoints& other = partner.points;
  for (size_t i = 0; i < other.x.size(); ++i) {
    if (!blends(d) && !in(other, i)) continue;
    s.points.add(other.x[i], other.y[i], other.label[i], other.angle[i], other.scale[i]);
    s.points.visible.back() = other.visible[i];
  }
}

SampleMix mix_one(Sample& s, const Sample& partner, const MixDraw& d, const BoxOptions& o) {
  const int32_t offset = offset_of(s);
  if (blends(d)) {
    blend(s.image, partner.image, d.lambda);
  } else {
    paste(s.image, partner.image, d);
  }
  for (size_t k = 0; k < s.masks.size(); ++k) {
    if (blends(d)) {
      blend(s.masks[k].px, partner.masks[k].px, d.lambda);
    } else if (s.masks[k].kind == Mask::Kind::instance_ids) {
      paste_instances(s.masks[k], partner.masks[k], d, offset);
    } else {
      paste(s.masks[k].px, partner.masks[k].px, d);
    }
  }
  mix_boxes(s, partner, d, o, offset);
  mix_points(s, partner, d);
  SampleMix out{.draw = d, .box_weight = {}, .point_weight = {}};
  const size_t their_boxes = partner.boxes.x1.size(), their_points = partner.points.x.size();
  out.box_weight.assign(s.boxes.x1.size(), 1.0F);
  out.point_weight.assign(s.points.x.size(), 1.0F);
  if (!blends(d)) return out;
  const auto share = [&](std::vector<float>& w, size_t theirs) {
    const auto own = static_cast<ptrdiff_t>(w.size() - theirs);
    std::fill(w.begin(), w.begin() + own, d.lambda);
    std::fill(w.begin() + own, w.end(), 1 - d.lambda);
  };
  share(out.box_weight, their_boxes);
  share(out.point_weight, their_points);
  return out;
}

}  // namespace

std::vector<SampleMix> mix_samples(std::span<Sample> samples, const MixOptions& options, Key key, const BoxOptions& boxes) {
  check_targets({.boxes = boxes});
  check_alike(samples);
  std::vector<SampleMix> out(samples.size());
  std::vector<int64_t> rows(samples.size());
  for (size_t i = 0; i < samples.size(); ++i) {
    rows[i] = static_cast<int64_t>(i);
    out[i].draw.row = out[i].draw.partner = rows[i];
    out[i].box_weight.assign(samples[i].boxes.x1.size(), 1.0F);
    out[i].point_weight.assign(samples[i].points.x.size(), 1.0F);
  }
  if (!options.on() || samples.size() < 2) return out;
  std::vector<size_t> begins;
  const auto draws = draw_mix(options, key, rows, samples[0].image.h(), samples[0].image.w(), begins);
  for (const MixDraw& d : draws) check_draw(d, samples);
  Sample first;
  size_t next = 0;
  for (size_t k = 0; k < draws.size(); ++k) {
    const MixDraw& d = draws[k];
    if (next < begins.size() && begins[next] == k) {
      first = copy_of(samples[static_cast<size_t>(d.row)]);
      ++next;
    }
    if (d.lambda >= 1) continue;
    // The last of a cycle takes its first, which is mixed by now.
    const bool last = k + 1 == draws.size() || (next < begins.size() && begins[next] == k + 1);
    const Sample& partner = last ? first : samples[static_cast<size_t>(d.partner)];
    out[static_cast<size_t>(d.row)] = mix_one(samples[static_cast<size_t>(d.row)], partner, d, boxes);
  }
  return out;
}

}  // namespace ballast
