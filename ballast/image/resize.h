#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include <ballast/image/image.h>

namespace ballast {

enum class Interpolation : uint8_t { nearest, box, bilinear, hamming, bicubic, lanczos };
std::string_view to_string(Interpolation interpolation);
/// Nothing if `name` is none of them.
std::optional<Interpolation> interpolation_from(std::string_view name);

struct ResizeOptions {
  Interpolation interpolation = Interpolation::bilinear;
  /// Widen the filter when shrinking, so that no source pixel is left out.
  bool antialias = true;
  /// Mirror the result left to right; free.
  bool flip = false;
};

/// Keeps buffers and weight tables between calls. One per thread.
class ResizeScratch {
 public:
  ResizeScratch();
  ~ResizeScratch();
  ResizeScratch(ResizeScratch&&) noexcept;
  ResizeScratch& operator=(ResizeScratch&&) noexcept;
  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

/// Separable resampling to h x w. Filters never read beside the view: crop first, and the crop's edge is the edge.
///
///   centre of output i   c = (i + 1/2) s,   s = source / outputs,   f = max(s, 1) with antialias, else 1
///   taps                 k in [max(0, trunc(c - R f + 1/2)), min(source, trunc(c + R f + 1/2)))
///   weights              K((k - c + 1/2) / f), divided by their sum, in double
///   K, R                 box 1/2; bilinear (triangle) 1; hamming 1; bicubic (a = -1/2) 2; lanczos 3
///   u8                   weights to 22 bits, int32 sums, rounded and clamped after each pass; columns first, then rows
///   f32                  weights as float, taps in order
///   nearest              index ((2 i + 1) source) / (2 n)
///
/// Equal    8-bit results are Pillow's (up to 12) bit for bit, for every filter; an axis that keeps its size is not
///          filtered.
/// Shape    u8 or f32, 1, 3 or 4 channels. 0x0 stays 0x0.
/// Errors   std::invalid_argument if h or w is outside [1, 65535], or the type is u16 or bf16.
Image resize(ImageView image, int32_t h, int32_t w, const ResizeOptions& options = {});

/// As resize, into `out`, which sets the size and must have the image's channels and type.
/// No memory is allocated once `scratch` has met the sizes.
void resize_into(ImageView image, ImageView out, const ResizeOptions& options, ResizeScratch& scratch);

}  // namespace ballast
