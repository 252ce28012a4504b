#include <ballast/augment/pipeline.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include <ballast/augment/carry.h>
#include <ballast/augment/execute.h>
#include <ballast/augment/pipeline_text.h>
#include <ballast/augment/plan.h>
#include <ballast/base/check.h>

namespace ballast {

Normalize imagenet_normalize() {
  return {{0.485F, 0.456F, 0.406F}, {0.229F, 0.224F, 0.225F}};
}

Scratch::Scratch() : impl_(std::make_unique<Impl>()) {}
Scratch::~Scratch() = default;
Scratch::Scratch(Scratch&&) noexcept = default;
Scratch& Scratch::operator=(Scratch&&) noexcept = default;

struct Pipeline::Impl {
  std::vector<detail::Step> steps;
  Normalize normalize{{0.0F}, {1.0F}};
  /// The text gives mean and std itself.
  bool own_normalize = false;
  DecodeLimits limits;
  std::array<float, 4> scale{}, shift{};
  detail::DrawFacts facts;

  void set(const Normalize& n) {
    normalize = n;
    for (size_t j = 0; j < 4; ++j) {
      const size_t i = n.mean.size() == 1 ? 0 : std::min<size_t>(j, 2);
      scale[j] = static_cast<float>(1.0 / (255.0 * n.std[i]));
      shift[j] = static_cast<float>(-static_cast<double>(n.mean[i]) / n.std[i]);
      if (j < 3) facts.mean[j] = static_cast<uint8_t>(std::clamp(std::nearbyint(n.mean[i] * 255.0), 0.0, 255.0));
    }
  }
};

Pipeline::Pipeline() : impl_(std::make_unique<Impl>()) { impl_->set(impl_->normalize); }
Pipeline::~Pipeline() = default;
Pipeline::Pipeline(const Pipeline& other) : impl_(std::make_unique<Impl>(*other.impl_)) {}
Pipeline& Pipeline::operator=(const Pipeline& other) {
  *impl_ = *other.impl_;
  return *this;
}
Pipeline::Pipeline(Pipeline&&) noexcept = default;
Pipeline& Pipeline::operator=(Pipeline&&) noexcept = default;

Pipeline Pipeline::parse(std::string_view text) {
  Pipeline p;
  p.impl_->steps = detail::parse_steps(text);
  for (const detail::Step& step : p.impl_->steps) {
    if (step.op->name != "normalize") continue;
    const detail::Value& mean = step.values[0];
    p.impl_->own_normalize = mean.given && mean.word != "dataset";
    if (mean.word == "imagenet") p.impl_->set(imagenet_normalize());
    if (!mean.numbers.empty()) {
      Normalize n;
      for (const double x : mean.numbers) n.mean.push_back(static_cast<float>(x));
      for (const double x : step.values[1].numbers) n.std.push_back(static_cast<float>(x));
      p.impl_->set(n);
    }
  }
  return p;
}

std::string Pipeline::text() const { return detail::print_steps(impl_->steps); }

std::string Pipeline::toml(std::string_view key) const { return detail::print_toml(impl_->steps, key); }

Pipeline Pipeline::plain() const {
  Pipeline out = *this;
  std::erase_if(out.impl_->steps, [](const detail::Step& s) {
    const bool flip = s.op->name == "horizontal_flip" || s.op->name == "vertical_flip";
    return !flip && s.op->group != AugmentGroup::crop && s.op->group != AugmentGroup::convert;
  });
  return out;
}

namespace {
/// Whether a step can give two results: its arguments may leave nothing to draw, as in hflip(1) or brightness(1.2).
bool draws(const detail::Step& step) {
  if (!step.op->random) return false;
  if (step.op->combines) return true;
  if (step.op->p >= 0) {
    const double p = step.num(static_cast<size_t>(step.op->p));
    if (p < 1) return p > 0;
  }
  const auto outcome = [&](uint64_t key) {
    detail::DrawFacts facts;
    facts.has_boxes = facts.size_only = true;
    detail::Plan plan;
    std::vector<DrawNote> notes;
    detail::draw_plan({step}, 1531, 2039, Key(key), facts, plan, &notes);
    return std::pair{std::move(notes), std::move(plan)};
  };
  const auto [notes, plan] = outcome(0);
  if (notes.empty()) return true;  // places and fields, which sizes do not need
  const auto is_field = [](const detail::Erasure& e) { return e.paint == detail::Erasure::Paint::field; };
  if (std::ranges::any_of(plan.erasures, is_field)) return true;
  for (uint64_t key = 1; key < 24; ++key) {
    const auto [other, other_plan] = outcome(key);
    if (!std::ranges::equal(notes, other, [](const DrawNote& a, const DrawNote& b) {
          return a.name == b.name && a.values == b.values;
        }) || plan.pixels != other_plan.pixels) {
      return true;
    }
  }
  return false;
}
}  // namespace

std::optional<std::string> Pipeline::random_step() const {
  for (const detail::Step& step : impl_->steps) {
    if (draws(step)) return detail::print_steps({step});
  }
  return std::nullopt;
}

namespace {
/// The size behind the steps of a picture of size (h, w), if it does not depend on draws: tried with different ones.
std::optional<std::pair<int32_t, int32_t>> size_behind(const std::vector<detail::Step>& steps, int32_t h, int32_t w,
                                                       detail::DrawFacts facts) {
  facts.has_boxes = facts.size_only = true;
  detail::Plan plan;
  std::optional<std::pair<int32_t, int32_t>> size;
  for (uint64_t i = 0; i < 24; ++i) {
    detail::draw_plan(steps, h, w, Key(i), facts, plan);
    if (size && *size != std::pair{plan.h, plan.w}) return std::nullopt;
    size = {plan.h, plan.w};
  }
  return size;
}
}  // namespace

std::optional<std::pair<int32_t, int32_t>> Pipeline::output_size() const {
  // Sizes that no crop would give by itself: what all of them become does not depend on the source. A crop that does not
  // fit one of them throws.
  std::optional<std::pair<int32_t, int32_t>> size;
  for (const auto& [h, w] : {std::pair{1531, 2039}, {2111, 1447}, {1789, 1789}}) {
    const auto one = size_behind(impl_->steps, h, w, impl_->facts);
    if (!one || (size && *size != *one)) return std::nullopt;
    size = one;
  }
  return size;
}

void Pipeline::set_normalize(const Normalize& n) {
  const auto finite = [](float x) { return std::isfinite(x); };
  check((n.mean.size() == 1 || n.mean.size() == 3) && n.std.size() == n.mean.size() &&
            std::all_of(n.mean.begin(), n.mean.end(), finite) &&
            std::all_of(n.std.begin(), n.std.end(), [](float x) { return std::isfinite(x) && x > 0; }),
        "normalize", "mean and std must be 1 or 3 finite numbers each, std above 0, got ", n.mean.size(), " and ",
        n.std.size());
  if (!impl_->own_normalize) impl_->set(n);
}

const Normalize& Pipeline::normalize() const { return impl_->normalize; }
void Pipeline::set_semantics(Semantics semantics) { impl_->facts.semantics = semantics; }
void Pipeline::set_limits(const DecodeLimits& limits) { impl_->limits = limits; }

namespace {

/// `image` with `channels` channels.
ImageView with_channels(ImageView image, int32_t channels, Image& storage) {
  check(image.dtype == DType::u8, "pipeline", "pixels must be u8, got ", to_string(image.dtype));
  check(image.c == 1 || image.c == 3 || image.c == 4, "pipeline", "channels must be 1, 3 or 4, got ", image.c);
  check(!image.empty(), "pipeline", "the image must not be empty");
  if (image.c == channels) return image;
  storage.reset(image.h, image.w, channels);
  for (int32_t y = 0; y < image.h; ++y) {
    const uint8_t* in = image.row_u8(y);
    uint8_t* out = storage.row_u8(y);
    for (int32_t x = 0; x < image.w; ++x, in += image.c, out += channels) {
      if (channels == 1) {
        out[0] = static_cast<uint8_t>((19595U * in[0] + 38470U * in[1] + 7471U * in[2] + 32768U) >> 16);
      } else {
        for (int32_t j = 0; j < 3; ++j) out[j] = in[image.c == 1 ? 0 : j];
        if (channels == 4) out[3] = 255;
      }
    }
  }
  return storage.view();
}

/// Decodes the part that the plan reads.
detail::Source decode_part(int32_t channels, Scratch::Impl& s, const ImageInfo& info) {
  const Roi roi = detail::needed(s.plan, info.h, info.w);
  DecodeOptions options;
  options.channels = channels;
  options.roi = roi;
  return {s.decoder.read(options, s.decoded, &s.report), roi.y0, roi.x0};
}

}  // namespace

void Pipeline::run_encoded(std::span<const std::byte> file, Key sample_key, BatchSlot& slot, int64_t row,
                           Scratch& scratch) const {
  Scratch::Impl& s = scratch.impl();
  const ImageInfo info = s.decoder.open(file, impl_->limits);
  detail::draw_plan(impl_->steps, info.h, info.w, sample_key, impl_->facts, s.plan);
  const detail::Source source = decode_part(slot.c, s, info);
  detail::run_to_slot(s.plan, source, impl_->scale.data(), impl_->shift.data(), slot, row, s);
}

void Pipeline::run_image(ImageView image, Key sample_key, BatchSlot& slot, int64_t row, Scratch& scratch) const {
  Scratch::Impl& s = scratch.impl();
  const ImageView source = with_channels(image, slot.c, s.converted);
  detail::draw_plan(impl_->steps, source.h, source.w, sample_key, impl_->facts, s.plan);
  detail::run_to_slot(s.plan, {source, 0, 0}, impl_->scale.data(), impl_->shift.data(), slot, row, s);
}

Image Pipeline::preview(std::span<const std::byte> file, Key sample_key, int32_t channels,
                        std::vector<DrawNote>* notes) const {
  check(channels == 1 || channels == 3, "pipeline", "channels must be 1 or 3, got ", channels);
  Scratch scratch;
  Scratch::Impl& s = scratch.impl();
  const ImageInfo info = s.decoder.open(file, impl_->limits);
  detail::draw_plan(impl_->steps, info.h, info.w, sample_key, impl_->facts, s.plan, notes);
  Image out;
  detail::run_to_preview(s.plan, decode_part(channels, s, info), impl_->scale.data(), impl_->shift.data(), out, s);
  return out;
}

Image Pipeline::preview(ImageView image, Key sample_key, int32_t channels, std::vector<DrawNote>* notes) const {
  check(channels == 1 || channels == 3, "pipeline", "channels must be 1 or 3, got ", channels);
  Scratch scratch;
  Scratch::Impl& s = scratch.impl();
  const ImageView source = with_channels(image, channels, s.converted);
  detail::draw_plan(impl_->steps, source.h, source.w, sample_key, impl_->facts, s.plan, notes);
  Image out;
  detail::run_to_preview(s.plan, {source, 0, 0}, impl_->scale.data(), impl_->shift.data(), out, s);
  return out;
}

void Pipeline::apply(Sample& sample, Key sample_key, const TargetOptions& options, std::vector<DrawNote>* notes) const {
  check_targets(options);
  check_sample(sample);
  const int32_t h = sample.image.h(), w = sample.image.w(), c = sample.image.c();
  check(c == 1 || c == 3, "pipeline", "channels must be 1 or 3, got ", c);
  const auto valid = detail::valid_boxes(sample.boxes, h, w, options.boxes, sample.name);
  if (static_cast<int64_t>(valid.size()) < sample.boxes.size()) sample.boxes.keep(valid);
  detail::DrawFacts facts = impl_->facts;
  facts.has_boxes = sample.boxes.size() > 0;
  for (size_t k = 0; k < valid.size(); ++k) {
    facts.boxes.push_back({sample.boxes.x1[k], sample.boxes.y1[k], sample.boxes.x2[k], sample.boxes.y2[k]});
  }
  Scratch scratch;
  Scratch::Impl& s = scratch.impl();
  Boxes boxes;
  for (uint64_t attempt = 0;; ++attempt) {
    const Key key = attempt == 0 ? sample_key : sample_key.fold_in("require_box").fold_in(attempt);
    if (notes != nullptr) notes->clear();
    detail::draw_plan(impl_->steps, h, w, key, facts, s.plan, notes);
    boxes = sample.boxes;
    detail::carry_boxes(s.plan.geometry, options.boxes, h, w, boxes);
    if (!options.boxes.require_box || boxes.size() > 0 || sample.boxes.size() == 0) break;
    if (attempt == 8) {
      if (notes != nullptr) notes->clear();
      return;
    }
  }
  std::vector<bool> gone;
  for (const int32_t source : sample.boxes.source) {
    const auto k = static_cast<size_t>(std::max(source, 0));
    if (k >= gone.size()) gone.resize(k + 1);
    gone[k] = std::find(boxes.source.begin(), boxes.source.end(), source) == boxes.source.end();
  }
  sample.boxes = std::move(boxes);
  detail::carry_points(s.plan.geometry, options.points, h, w, sample.points);
  Image out;
  detail::run_to_preview(s.plan, {sample.image.view(), 0, 0}, impl_->scale.data(), impl_->shift.data(), out, s);
  sample.image.swap(out);
  for (Mask& mask : sample.masks) {
    if (mask.kind == Mask::Kind::heat) {
      detail::run_to_heat(s.plan, mask.px, s);
      continue;
    }
    detail::carry_ids(s.plan, facts.semantics == Semantics::sequential, mask);
    if (mask.kind == Mask::Kind::instance_ids) detail::forget_instances(gone, mask);
  }
}

std::string Pipeline::passes(int32_t h, int32_t w, Key sample_key) const {
  detail::DrawFacts facts = impl_->facts;
  facts.has_boxes = true;
  detail::Plan plan;
  detail::draw_plan(impl_->steps, h, w, sample_key, facts, plan);
  return plan.text();
}

std::vector<DrawNote> Pipeline::draw(int32_t h, int32_t w, Key sample_key) const {
  std::vector<DrawNote> notes;
  detail::Plan plan;
  detail::draw_plan(impl_->steps, h, w, sample_key, impl_->facts, plan, &notes);
  return notes;
}

std::string DrawNote::text() const {
  std::string out = name;
  for (const double v : values) {
    char buffer[32];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, v, std::chars_format::general, 3).ptr;
    out += " " + std::string(buffer, end);
  }
  return out;
}

}  // namespace ballast
