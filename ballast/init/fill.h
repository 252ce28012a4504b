#pragma once

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <array>
#include <span>

namespace ballast::detail {

/// Numbers drawn at once, at most.
inline constexpr int64_t kFillChunk = 1024;

template <class T>
T to_dtype(double x) {
  if constexpr (sizeof(T) < 4) {
    return static_cast<T>(static_cast<float>(x));
  } else {
    return static_cast<T>(x);
  }
}

/// Writes t by element number (row-major, whatever its strides), in t's dtype: draw(first, out) computes the numbers
/// first, first + 1, ... in double. Chunks are fixed, so no bit
/// depends on the number of threads.
template <class Draw>
torch::Tensor fill_by_element(torch::Tensor t, const Draw& draw) {
  torch::NoGradGuard no_grad;
  if (t.numel() == 0) return t;
  const bool direct = t.is_contiguous() && t.device().is_cpu();
  torch::Tensor target = direct ? t : torch::empty(t.sizes(), t.options().device(torch::kCPU), at::MemoryFormat::Contiguous);
  const int64_t n = target.numel(), chunks = (n + kFillChunk - 1) / kFillChunk;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, target.scalar_type(), "fill_by_element", [&] {
    scalar_t* data = target.data_ptr<scalar_t>();
    at::parallel_for(0, chunks, 8, [&](int64_t begin, int64_t end) {
      std::array<double, kFillChunk> buffer;
      for (int64_t c = begin; c < end; ++c) {
        const int64_t first = c * kFillChunk, count = std::min(kFillChunk, n - first);
        draw(static_cast<uint64_t>(first), std::span<double>(buffer.data(), static_cast<size_t>(count)));
        for (int64_t i = 0; i < count; ++i) data[first + i] = to_dtype<scalar_t>(buffer[static_cast<size_t>(i)]);
      }
    });
  });
  if (!direct) t.copy_(target);
  return t;
}

}  // namespace ballast::detail
