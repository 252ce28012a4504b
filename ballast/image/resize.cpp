#include <ballast/image/resize.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numbers>

#include <ballast/base/check.h>
#include <ballast/base/detmath.h>
#include <ballast/image/resize_axis.h>
#include <ballast/image/resize_kernel.h>
#include <ballast/image/resize_run.h>

namespace ballast {

namespace {
constexpr std::array<std::string_view, 6> kNames = {"nearest", "box",     "bilinear",
                                                    "hamming", "bicubic", "lanczos"};
}

std::string_view to_string(Interpolation interpolation) {
  return kNames[static_cast<size_t>(interpolation)];
}

std::optional<Interpolation> interpolation_from(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<Interpolation>(i);
  }
  return std::nullopt;
}

namespace detail {
namespace {

double sinc(double x) {
  if (x == 0) return 1;
  x *= std::numbers::pi;
  return det_sin(x) / x;
}

double radius(Interpolation interpolation) {
  switch (interpolation) {
    case Interpolation::box: return 0.5;
    case Interpolation::bicubic: return 2;
    case Interpolation::lanczos: return 3;
    default: return 1;
  }
}

double kernel(Interpolation interpolation, double x) {
  switch (interpolation) {
    case Interpolation::box: return x > -0.5 && x <= 0.5 ? 1 : 0;
    case Interpolation::bilinear: return std::max(0.0, 1 - std::abs(x));
    case Interpolation::hamming: {
      x = std::abs(x);
      if (x == 0) return 1;
      if (x >= 1) return 0;
      x *= std::numbers::pi;
      return det_sin(x) / x * (0.54 + 0.46 * det_cos(x));
    }
    case Interpolation::bicubic: {
      constexpr double a = -0.5;
      x = std::abs(x);
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
      if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
      return 0;
    }
    case Interpolation::lanczos: return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
    default: return 0;
  }
}

struct Taps {
  const AxisSpec& spec;
  Interpolation interpolation;
  double scale, widen, reach;

  Taps(const AxisSpec& s, Interpolation i, bool antialias)
      : spec(s),
        interpolation(i),
        scale(s.source / s.full),
        widen(antialias ? std::max(scale, 1.0) : 1.0),
        reach(radius(i) * widen) {}

  /// Positions count from the first readable pixel, as the crop's edge is the edge.
  double centre(int32_t i) const {
    return spec.begin - spec.low + (spec.first + i + 0.5) * scale;
  }
  std::pair<int32_t, int32_t> range(int32_t i) const {
    const int32_t readable = spec.high - spec.low;
    if (interpolation == Interpolation::nearest) {
      // ((2i + 1) L) // (2n) of whole numbers; the same in double for the real intervals of fused crops.
      const auto index = static_cast<int32_t>(std::floor(centre(i)));
      const int32_t k = std::clamp(index, 0, readable - 1);
      return {k, k + 1};
    }
    const double c = centre(i);
    int32_t lo = std::max(0, static_cast<int32_t>(c - reach + 0.5));
    int32_t hi = std::min(readable, static_cast<int32_t>(c + reach + 0.5));
    lo = std::min(lo, readable - 1);
    hi = std::max(hi, lo + 1);
    return {lo, hi};
  }
};

}  // namespace

std::pair<int32_t, int32_t> source_range(const AxisSpec& spec, Interpolation interpolation,
                                         bool antialias) {
  const Taps taps(spec, interpolation, antialias);
  return {spec.low + taps.range(0).first, spec.low + taps.range(spec.count - 1).second};
}

void make_table(const AxisSpec& spec, Interpolation interpolation, bool antialias, DType dtype, bool even,
                AxisTable& table) {
  const Taps taps(spec, interpolation, antialias);
  const auto count = static_cast<size_t>(spec.count);
  table.count = spec.count;
  table.start.resize(count);
  table.taps.resize(count);
  int32_t widest = 0;
  for (int32_t i = 0; i < spec.count; ++i) {
    const auto [lo, hi] = taps.range(i);
    widest = std::max(widest, hi - lo);
  }
  table.stride = (widest + (even ? 2 : 1)) / 2 * 2;
  const int32_t offset = taps.range(0).first;
  table.origin = spec.low + offset;
  table.end = spec.low + taps.range(spec.count - 1).second;
  const size_t stride = static_cast<size_t>(table.stride);
  table.fixed.assign(dtype == DType::u8 ? count * stride : 0, 0);
  table.real.assign(dtype == DType::f32 ? count * stride : 0, 0);
  table.exact_.resize(stride);
  const double inverse = 1.0 / taps.widen;
  for (int32_t i = 0; i < spec.count; ++i) {
    const auto [lo, hi] = taps.range(i);
    const auto n = static_cast<size_t>(hi - lo);
    const double c = taps.centre(i);
    double sum = 0;
    for (size_t k = 0; k < n; ++k) {
      const double w = interpolation == Interpolation::nearest
                           ? 1
                           : kernel(interpolation, (static_cast<double>(k) + lo - c + 0.5) * inverse);
      table.exact_[k] = w;
      sum += w;
    }
    const auto at = static_cast<size_t>(spec.flip ? spec.count - 1 - i : i);
    const int32_t lead = even ? (lo - offset) % 2 : 0;
    table.start[at] = lo - offset - lead;
    table.taps[at] = hi - lo + lead;
    for (size_t k = 0; k < n; ++k) {
      const double w = sum != 0 ? table.exact_[k] / sum : table.exact_[k];
      if (dtype == DType::f32) {
        table.real[at * stride + static_cast<size_t>(lead) + k] = static_cast<float>(w);
      } else {
        const double scaled = w * (1 << kWeightBits);
        table.fixed[at * stride + static_cast<size_t>(lead) + k] = static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
      }
    }
  }
  if (dtype != DType::u8) return;
  const size_t pairs = count * stride / 2;
  table.high_pairs.resize(pairs);
  table.low_pairs.resize(pairs);
  const auto pack = [](int32_t a, int32_t b) {
    return static_cast<int32_t>((static_cast<uint32_t>(a) & 0xffffU) |
                                static_cast<uint32_t>(b) << 16);
  };
  for (size_t p = 0; p < pairs; ++p) {
    const int32_t a = table.fixed[2 * p], b = table.fixed[2 * p + 1];
    table.high_pairs[p] = pack(a >> 11, b >> 11);
    table.low_pairs[p] = pack(a & 2047, b & 2047);
  }
}

namespace {

TapsView view(const AxisTable& table) {
  return {table.start.data(),      table.taps.data(),      table.fixed.data(),
          table.high_pairs.data(), table.low_pairs.data(), table.stride,
          table.count};
}

/// Aligned room for `bytes`.
uint8_t* room(std::vector<uint8_t>& memory, size_t bytes) {
  if (memory.size() < bytes + 64) memory.resize(bytes + 64 + bytes / 2);
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  return memory.data() + (64 - address % 64) % 64;
}

void horizontal_f32(ImageView in, const AxisTable& t, ImageView out) {
  for (int32_t y = 0; y < in.h; ++y) {
    const float* p = in.row_f32(y);
    float* o = out.row_f32(y);
    for (int32_t x = 0; x < t.count; ++x) {
      const float* w = &t.real[static_cast<size_t>(x) * static_cast<size_t>(t.stride)];
      for (int32_t c = 0; c < in.c; ++c) {
        float sum = 0;
        for (int32_t k = 0; k < t.taps[static_cast<size_t>(x)]; ++k) {
          sum += p[(t.start[static_cast<size_t>(x)] + k) * in.c + c] * w[k];
        }
        o[x * in.c + c] = sum;
      }
    }
  }
}

void vertical_f32(ImageView in, const AxisTable& t, int32_t i, float* out) {
  const int32_t n = in.w * in.c;
  const float* w = &t.real[static_cast<size_t>(i) * static_cast<size_t>(t.stride)];
  const int32_t start = t.start[static_cast<size_t>(i)];
  std::fill_n(out, n, 0.0F);
  for (int32_t k = 0; k < t.taps[static_cast<size_t>(i)]; ++k) {
    const float* p = in.row_f32(start + k);
    for (int32_t j = 0; j < n; ++j) out[j] += p[j] * w[k];
  }
}

}  // namespace

void Resampler::start(ImageView source, int32_t top, int32_t left, const AxisSpec& y, const AxisSpec& x,
                      Interpolation interpolation, bool antialias) {
  vertical_needed_ = !unchanged(y);
  int32_t first = y.low + y.first, count = y.count;
  if (vertical_needed_) {
    make_table(y, interpolation, antialias, source.dtype, false, vertical_);
    first = vertical_.origin;
    count = vertical_.end - vertical_.origin;
  }
  if (unchanged(x)) {
    rows_ = source.crop(first - top, x.low + x.first - left, count, x.count);
    return;
  }
  make_table(x, interpolation, antialias, source.dtype, source.dtype == DType::u8, horizontal_);
  between_.reset(count, x.count, source.c, source.dtype);
  const ImageView in =
      source.crop(first - top, horizontal_.origin - left, count, horizontal_.end - horizontal_.origin);
  rows_ = between_.view();
  if (source.dtype == DType::f32) {
    horizontal_f32(in, horizontal_, rows_);
    return;
  }
  uint8_t* scratch = room(strip_, horizontal_scratch(in.w, x.count, in.c, horizontal_.stride));
  horizontal_pass(in.row_u8(0), in.stride, in.h, in.w, in.c, view(horizontal_), rows_.row_u8(0), rows_.stride,
                  scratch);
}

const uint8_t* Resampler::row_u8(int32_t i, uint8_t* room_for_row) {
  if (!vertical_needed_) return rows_.row_u8(i);
  vertical_pass(rows_.row_u8(0), rows_.stride, static_cast<size_t>(rows_.w) * static_cast<size_t>(rows_.c),
                view(vertical_), i, room_for_row);
  return room_for_row;
}

void Resampler::row_f32(int32_t i, float* out) {
  if (!vertical_needed_) {
    const float* p = rows_.row_f32(i);
    std::copy(p, p + rows_.w * rows_.c, out);
  } else {
    vertical_f32(rows_, vertical_, i, out);
  }
}

}  // namespace detail

struct ResizeScratch::Impl {
  detail::Resampler resampler;
};

ResizeScratch::ResizeScratch() : impl_(std::make_unique<Impl>()) {}
ResizeScratch::~ResizeScratch() = default;
ResizeScratch::ResizeScratch(ResizeScratch&&) noexcept = default;
ResizeScratch& ResizeScratch::operator=(ResizeScratch&&) noexcept = default;

void resize_into(ImageView image, ImageView out, const ResizeOptions& options, ResizeScratch& scratch) {
  check(image.dtype == DType::u8 || image.dtype == DType::f32, "resize", "pixels must be u8 or f32, got ",
        to_string(image.dtype));
  check(image.c == 1 || image.c == 3 || image.c == 4, "resize", "channels must be 1, 3 or 4, got ",
        image.c);
  check(out.c == image.c && out.dtype == image.dtype, "resize",
        "the result must have the image's channels and type, got ", out.c, " of ", to_string(out.dtype));
  check(out.h >= 1 && out.h <= 65'535 && out.w >= 1 && out.w <= 65'535, "resize",
        "size must be in [1, 65535], got ", out.h, "x", out.w);
  check(!image.empty(), "resize", "the image must not be empty");
  const detail::AxisSpec y{0, static_cast<double>(image.h), 0, image.h, out.h, 0, out.h, false};
  const detail::AxisSpec x{0, static_cast<double>(image.w), 0, image.w, out.w, 0, out.w, options.flip};
  detail::Resampler& r = scratch.impl().resampler;
  r.start(image, 0, 0, y, x, options.interpolation, options.antialias);
  const auto bytes = static_cast<size_t>(out.w * out.c * item_size(out.dtype));
  for (int32_t i = 0; i < out.h; ++i) {
    if (image.dtype == DType::f32) {
      r.row_f32(i, out.row_f32(i));
    } else if (const uint8_t* row = r.row_u8(i, out.row_u8(i)); row != out.row_u8(i)) {
      std::memcpy(out.row(i), row, bytes);
    }
  }
}

Image resize(ImageView image, int32_t h, int32_t w, const ResizeOptions& options) {
  if (image.empty()) return {};
  check(h >= 1 && h <= 65'535 && w >= 1 && w <= 65'535, "resize", "size must be in [1, 65535], got ", h,
        "x", w);
  Image out(h, w, image.c, image.dtype);
  ResizeScratch scratch;
  resize_into(image, out, options, scratch);
  return out;
}

}  // namespace ballast
