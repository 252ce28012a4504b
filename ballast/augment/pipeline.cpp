#include <ballast/augment/pipeline.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include <ballast/augment/catalog.h>
#include <ballast/augment/normalize_kernel.h>
#include <ballast/augment/pipeline_text.h>
#include <ballast/augment/plan.h>
#include <ballast/base/check.h>
#include <ballast/image/resize_run.h>

namespace ballast {

using detail::AxisPlan;
using detail::PaddingMode;
using detail::Stage;

Normalize imagenet_normalize() {
  return {{0.485F, 0.456F, 0.406F}, {0.229F, 0.224F, 0.225F}};
}

struct Scratch::Impl {
  Decoder decoder;
  DecodeReport report;
  Image decoded, converted;
  std::array<Image, 2> between;
  detail::Resampler resampler;
  std::vector<Stage> stages;
  std::vector<uint8_t> row, padded_row;
  std::vector<int32_t> columns;
};

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

  void set(const Normalize& n) {
    normalize = n;
    for (size_t j = 0; j < 4; ++j) {
      const size_t i = n.mean.size() == 1 ? 0 : std::min<size_t>(j, 2);
      scale[j] = static_cast<float>(1.0 / (255.0 * n.std[i]));
      shift[j] = static_cast<float>(-static_cast<double>(n.mean[i]) / n.std[i]);
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
    if (const auto* n = std::get_if<detail::NormalizeStep>(&step.operation)) {
      using Kind = detail::NormalizeStep::Kind;
      p.impl_->own_normalize = n->kind != Kind::dataset;
      if (n->kind == Kind::imagenet) p.impl_->set(imagenet_normalize());
      if (n->kind == Kind::given) p.impl_->set(n->values);
    }
  }
  return p;
}

std::string Pipeline::text() const { return detail::print_steps(impl_->steps); }

bool Pipeline::random() const {
  const auto catalog = augment_catalog();
  return std::any_of(impl_->steps.begin(), impl_->steps.end(), [&](const detail::Step& step) {
    return std::any_of(catalog.begin(), catalog.end(),
                       [&](const AugmentEntry& e) { return e.number == step.number && e.random; });
  });
}

std::optional<std::pair<int32_t, int32_t>> Pipeline::output_size() const {
  std::optional<std::pair<int32_t, int32_t>> size;
  for (const detail::Step& step : impl_->steps) {
    if (const auto* o = std::get_if<detail::RandomResizedCrop>(&step.operation)) size = {o->size.h, o->size.w};
    if (const auto* o = std::get_if<detail::RandomCrop>(&step.operation)) size = {o->size.h, o->size.w};
    if (const auto* o = std::get_if<detail::CenterCrop>(&step.operation)) size = {o->size.h, o->size.w};
    if (const auto* o = std::get_if<detail::ResizeStep>(&step.operation)) {
      if (o->size.both || o->mode == detail::ResizeStep::Mode::exact) {
        size = {o->size.h, o->size.w};
      } else if (size) {
        // A known size stays known: the plan says which.
        std::vector<Stage> stages;
        detail::plan({step}, size->first, size->second, Key(), stages);
        size = {stages.back().y.count, stages.back().x.count};
      }
    }
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
void Pipeline::set_limits(const DecodeLimits& limits) { impl_->limits = limits; }

namespace {

/// Index in [0, n) that a position outside takes, or -1 for the fill colour.
int32_t fold(int64_t i, int64_t n, PaddingMode mode) {
  if (i >= 0 && i < n) return static_cast<int32_t>(i);
  switch (mode) {
    case PaddingMode::constant: return -1;
    case PaddingMode::edge: return static_cast<int32_t>(i < 0 ? 0 : n - 1);
    case PaddingMode::reflect: {
      if (n == 1) return 0;
      const int64_t period = 2 * (n - 1);
      const int64_t m = ((i % period) + period) % period;
      return static_cast<int32_t>(m < n ? m : period - m);
    }
    case PaddingMode::symmetric: {
      const int64_t m = ((i % (2 * n)) + 2 * n) % (2 * n);
      return static_cast<int32_t>(m < n ? m : 2 * n - 1 - m);
    }
    case PaddingMode::wrap: return static_cast<int32_t>(((i % n) + n) % n);
  }
  return -1;
}

/// Source pixels that an axis of the first stage reads.
std::pair<int32_t, int32_t> needed(const AxisPlan& axis, const Stage& stage) {
  const detail::AxisSpec spec = axis.spec();
  if (detail::unchanged(spec)) return {axis.valid, axis.valid + axis.valid_count};
  return detail::source_range(spec, stage.interpolation, stage.antialias);
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
  detail::AxisSpec y = py.spec(), x = px.spec();
  const bool pad_x = px.padded();
  bool flip = px.flip;
  if (flip && !pad_x && !detail::unchanged(x)) {
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
    const int32_t row = fold(offset, py.valid_count, stage.mode);
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
      const int32_t column = fold(int64_t{px.window} + j - px.valid, px.valid_count, stage.mode);
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

/// Runs all stages; store receives the last one's rows.
template <class Store>
void run_stages(ImageView source, int32_t top, int32_t left, Scratch::Impl& s, Store&& store) {
  for (size_t i = 0; i + 1 < s.stages.size(); ++i) {
    const Stage& stage = s.stages[i];
    Image& out = s.between[i % 2];
    out.reset(stage.y.count, stage.x.count, source.c);
    run_stage(stage, source, top, left, s, [&](int32_t y, const uint8_t* row, bool flip) {
      std::memcpy(out.row_u8(y), row, static_cast<size_t>(out.w()) * static_cast<size_t>(out.c()));
      if (flip) mirror(out.row_u8(y), out.w(), out.c());
    });
    source = out.view();
    top = left = 0;
  }
  run_stage(s.stages.back(), source, top, left, s, store);
}

/// The region of the file that the first stage reads, decoded to `channels`.
ImageView decode_region(const ImageInfo&, int32_t channels, Scratch::Impl& s, Roi& roi) {
  const Stage& first = s.stages.front();
  const auto y = needed(first.y, first), x = needed(first.x, first);
  roi = {x.first, y.first, x.second, y.second};
  DecodeOptions options;
  options.channels = channels;
  options.roi = roi;
  return s.decoder.read(options, s.decoded, &s.report);
}

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

class SlotWriter {
 public:
  SlotWriter(const Scratch::Impl& s, BatchSlot& slot, int64_t row, const float* a, const float* b)
      : out_(slot.row(row)), c_(slot.c), w_(slot.w), plane_(int64_t{slot.h} * slot.w), layout_(slot.layout),
        a_(a), b_(b) {
    check(row >= 0 && row < slot.capacity, "pipeline", "row must be in [0, ", slot.capacity, "), got ", row);
    const Stage& last = s.stages.back();
    check(last.y.count == slot.h && last.x.count == slot.w, "pipeline", "the result is ", last.y.count, "x",
          last.x.count, ", the batch holds ", slot.h, "x", slot.w,
          "; end with a crop or a resize of fixed size");
  }
  void operator()(int32_t y, const uint8_t* row, bool flip) const {
    const int64_t at = int64_t{y} * w_;
    if (layout_ == Layout::chw) {
      detail::normalize_row(row, w_, c_, flip, a_, b_, out_ + at, plane_);
    } else {
      detail::normalize_row(row, w_, c_, flip, a_, b_, out_ + at * c_, 0);
    }
  }

 private:
  float* out_;
  int32_t c_, w_;
  ptrdiff_t plane_;
  Layout layout_;
  const float *a_, *b_;
};

class ImageWriter {
 public:
  ImageWriter(const Scratch::Impl& s, Image& out, int32_t channels) : out_(out) {
    out.reset(s.stages.back().y.count, s.stages.back().x.count, channels);
  }
  void operator()(int32_t y, const uint8_t* row, bool flip) const {
    std::memcpy(out_.row_u8(y), row, static_cast<size_t>(out_.w()) * static_cast<size_t>(out_.c()));
    if (flip) mirror(out_.row_u8(y), out_.w(), out_.c());
  }

 private:
  Image& out_;
};

}  // namespace

void Pipeline::run_encoded(std::span<const std::byte> file, Key sample_key, BatchSlot& slot, int64_t row,
                           Scratch& scratch) const {
  Scratch::Impl& s = scratch.impl();
  const ImageInfo info = s.decoder.open(file, impl_->limits);
  detail::plan(impl_->steps, info.h, info.w, sample_key, s.stages);
  const SlotWriter writer(s, slot, row, impl_->scale.data(), impl_->shift.data());
  Roi roi;
  const ImageView part = decode_region(info, slot.c, s, roi);
  run_stages(part, roi.y0, roi.x0, s, writer);
}

void Pipeline::run_image(ImageView image, Key sample_key, BatchSlot& slot, int64_t row, Scratch& scratch) const {
  Scratch::Impl& s = scratch.impl();
  const ImageView source = with_channels(image, slot.c, s.converted);
  detail::plan(impl_->steps, source.h, source.w, sample_key, s.stages);
  run_stages(source, 0, 0, s, SlotWriter(s, slot, row, impl_->scale.data(), impl_->shift.data()));
}

Image Pipeline::preview(std::span<const std::byte> file, Key sample_key, int32_t channels) const {
  check(channels == 1 || channels == 3, "pipeline", "channels must be 1 or 3, got ", channels);
  Scratch scratch;
  Scratch::Impl& s = scratch.impl();
  const ImageInfo info = s.decoder.open(file, impl_->limits);
  detail::plan(impl_->steps, info.h, info.w, sample_key, s.stages);
  Roi roi;
  const ImageView part = decode_region(info, channels, s, roi);
  Image out;
  run_stages(part, roi.y0, roi.x0, s, ImageWriter(s, out, channels));
  return out;
}

Image Pipeline::preview(ImageView image, Key sample_key, int32_t channels) const {
  check(channels == 1 || channels == 3, "pipeline", "channels must be 1 or 3, got ", channels);
  Scratch scratch;
  Scratch::Impl& s = scratch.impl();
  const ImageView source = with_channels(image, channels, s.converted);
  detail::plan(impl_->steps, source.h, source.w, sample_key, s.stages);
  Image out;
  run_stages(source, 0, 0, s, ImageWriter(s, out, channels));
  return out;
}

}  // namespace ballast
