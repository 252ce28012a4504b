#pragma once

#include <cstddef>
#include <cstdint>

#include <hwy/cache_control.h>

// What the kernels of this room are told; plain pointers, no torch.

namespace ballast::norm_kernel {

/// How values are stored. They are computed in float32, f64 in float64: the "compute type" of an array below.
enum class Elem : uint8_t { f32, bf16, f64 };

/// The fused activation.
enum class Phi : uint8_t { none, relu, leaky_relu, relu6, hardswish, silu };
struct Slope {
  Phi phi = Phi::none;
  double a = 0;  ///< of leaky_relu
};
/// phi' where no bit is set, of the kinds that have one slope there.
inline double slope_elsewhere(const Slope& slope) {
  return slope.phi == Phi::none ? 1 : slope.phi == Phi::leaky_relu ? slope.a : 0;
}

/// Before another thread may read what this one has streamed; once for many calls, it waits for memory.
inline void end_stream() { hwy::FlushStream(); }

/// count blocks of `size` neighbours, each `stride` elements after the one before: the planes of a channel, say.
struct Planes {
  size_t count = 0, stride = 0, size = 0;
  bool stream = false;  ///< results go past the caches: they belong to a tensor larger than those; end_stream() after the last
  size_t next = 0;      ///< what is read next lies so many values behind: asked for while results are written; 0: unknown
  size_t values() const { return count * size; }
};

/// Of n values: their mean and sum of squared distances from it.
struct Moments {
  double n = 0, mean = 0, m2 = 0;
  /// Those of both sets together.
  void merge(const Moments& other) {
    if (other.n == 0) return;
    const double total = n + other.n, d = other.mean - mean;
    mean += d * (other.n / total);
    m2 += other.m2 + d * d * (n * other.n / total);
    n = total;
  }
};

/// z = (x - center) scale + offset.
struct Affine {
  double center = 0, scale = 1, offset = 0;
};

/// dx = g by_g + (x - center) by_x + constant.
struct GradAffine {
  double by_g = 0, by_x = 0, constant = 0;
};

/// Sums over values of g and of g (x - center).
struct GradSums {
  double g = 0, gx = 0;
};

/// Bytes that hold `size` bits, one per element of a plane or row.
constexpr size_t mask_bytes(size_t size) { return (size + 7) / 8; }

}  // namespace ballast::norm_kernel
