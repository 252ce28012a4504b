#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace ballast {

/// Order of a batch in memory: n,c,h,w or n,h,w,c (the bytes of a channels_last tensor).
enum class Layout : uint8_t { chw, hwc };
std::string_view to_string(Layout layout);

/// A batch of pictures with what training needs beside them; one element of the loader's ring, reused.
///
/// Memory   float32, 64-byte aligned; from 4 MiB on huge pages are asked for.
/// Errors   std::invalid_argument if a size is negative, c is none of 1, 3, 4, or the product exceeds 2^40.
class BatchSlot {
 public:
  BatchSlot() = default;
  BatchSlot(int64_t samples, int32_t channels, int32_t height, int32_t width, Layout order) {
    reset(samples, channels, height, width, order);
  }

  /// Room for `samples` samples, which n becomes. Keeps its memory where that suffices. Pixels are unspecified.
  void reset(int64_t samples, int32_t channels, int32_t height, int32_t width, Layout order);

  /// As reset, with pixels in memory of somebody else: samples * channels * height * width values.
  void borrow(float* values, int64_t samples, int32_t channels, int32_t height, int32_t width, Layout order);

  /// Samples in this batch; at most `capacity`.
  int64_t n = 0;
  int64_t capacity = 0;
  int32_t c = 0, h = 0, w = 0;
  Layout layout = Layout::chw;
  /// capacity * c * h * w values.
  float* data = nullptr;
  /// Per sample: class, id in the source, weight in the loss (0: leave out).
  std::vector<int64_t> label;
  std::vector<uint64_t> id;
  std::vector<float> weight;
  /// True if pictures were mixed: row i is lambda[i] of itself and 1 - lambda[i] of row partner[i], as that was (mix.h).
  bool mixed = false;
  std::vector<int64_t> partner;
  std::vector<float> lambda;

  int64_t sample_size() const { return int64_t{c} * h * w; }
  /// First value of sample i.
  float* row(int64_t i) { return data + i * sample_size(); }
  const float* row(int64_t i) const { return data + i * sample_size(); }

 private:
  void set(float* values, int64_t samples, int32_t channels, int32_t height, int32_t width, Layout order);
  struct Free {
    void operator()(float* p) const;
  };
  std::unique_ptr<float, Free> memory_;
  size_t bytes_ = 0;
};

}  // namespace ballast
