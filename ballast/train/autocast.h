#pragma once

#include <torch/types.h>

namespace ballast {

/// Autocast to bfloat16 while it lives, on a CPU or a CUDA device: convolutions and matrix products take bfloat16, what needs range or
/// precision stays float32. Weights are cast once, not for each use, and the casts are dropped at the end.
class Bf16Autocast {
 public:
  explicit Bf16Autocast(torch::DeviceType device);
  ~Bf16Autocast();
  Bf16Autocast(const Bf16Autocast&) = delete;
  Bf16Autocast& operator=(const Bf16Autocast&) = delete;

 private:
  void set(bool on) const;
  torch::DeviceType device_;
};

/// Whether this processor computes bfloat16 faster than float32: AMX or AVX512_BF16.
bool cpu_has_bf16();

}  // namespace ballast
