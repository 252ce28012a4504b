#pragma once

// Carries out a plan; not public.

#include <deque>
#include <memory>
#include <vector>

#include <ballast/augment/batch_slot.h>
#include <ballast/augment/pipeline.h>
#include <ballast/augment/plan.h>
#include <ballast/image/decode.h>
#include <ballast/image/resize_run.h>

namespace ballast {

/// Buffers of one thread, kept from sample to sample.
struct Scratch::Impl {
  Decoder decoder;
  DecodeReport report;
  Image decoded, converted;
  std::array<Image, 3> images;
  detail::Resampler resampler;
  WarpScratch warp;
  PixelScratch pixels;
  detail::Plan plan;
  std::vector<uint8_t> row, padded_row;
  std::vector<float> sums;
  /// Of the chains of a blend, made on first use.
  std::vector<std::unique_ptr<Impl>> inner;
};

namespace detail {

/// Where a plan's picture comes from: the part that the plan reads, whose corner is pixel (top, left).
struct Source {
  ImageView pixels;
  int32_t top = 0, left = 0;
};

/// Part of an h x w picture that the plan reads.
Roi needed(const Plan& plan, int32_t h, int32_t w);

/// Number of actions without the erasures at the end, which are painted after normalization.
size_t before_erasures(const Plan& plan);

/// Runs the first `count` actions to 8-bit pixels, which stay valid until the next call.
ImageView run_to_image(const Plan& plan, size_t count, Source source, Scratch::Impl& s);

/// Runs the plan into row `row` of the slot: y = x * a + b, erasures last. Errors: the size does not fit.
void run_to_slot(const Plan& plan, Source source, const float* a, const float* b, BatchSlot& slot, int64_t row,
                 Scratch::Impl& s);

/// Runs the plan to 8-bit pixels with the erasures painted at their normalized values, by mean and std.
void run_to_preview(const Plan& plan, Source source, const float* a, const float* b, Image& out, Scratch::Impl& s);

/// Runs the geometry of a plan on a heat map, in place; what lies outside is 0. Spoils the plan's fill colours.
void run_to_heat(Plan& plan, Image& heat, Scratch::Impl& s);

}  // namespace detail
}  // namespace ballast
