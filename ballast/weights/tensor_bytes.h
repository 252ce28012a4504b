#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include <ballast/io/safetensors.h>
#include <ballast/weights/state_dict.h>

namespace ballast::detail {

/// A tensor of that type and shape on the CPU, filled from bytes in C order.
/// Errors   DataError: `[weights] LABEL: NAME must be of a type LibTorch has, got U64`
torch::Tensor tensor_of_bytes(SafetensorsDType type, const std::vector<int64_t>& shape, std::span<const std::byte> bytes,
                              const std::string& label, const std::string& name);

/// A state dict as files hold it. `kept` owns what the views point to.
struct StateBytes {
  std::vector<torch::Tensor> kept;
  std::vector<SafetensorsTensor> tensors;
};
/// Errors   std::invalid_argument: a type that safetensors lack.
StateBytes bytes_of_state(const StateDict& state);

}  // namespace ballast::detail
