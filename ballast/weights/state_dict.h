#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <ballast/io/file.h>

namespace ballast {

/// Tensors by dotted name.
using StateDict = std::map<std::string, torch::Tensor>;

/// A module's parameters and buffers, without gradients; they share the module's memory.
StateDict state_dict(const torch::nn::Module& module);

/// Reads a .safetensors file. The tensors own their memory.
/// Errors   DataError with the path: not a valid file; a dtype that LibTorch does not have.
StateDict read_weights(const std::filesystem::path& path);

/// Writes a .safetensors file, atomically: the bytes that Python's `safetensors.torch.save_file` writes for the same
/// tensors. Tensors on other devices are copied.
/// Errors   StorageError.
void write_weights(FileSystem& fs, const std::filesystem::path& path, const StateDict& weights,
                   const std::map<std::string, std::string>& metadata = {});

/// Options of load_weights.
struct LoadOptions {
  /// Prefixes that other programs put before every name. The one of {none, each of these, pairs of them} with most
  /// names of the model is taken off; ties: the shortest.
  std::vector<std::string> strip = {"module.", "_orig_mod.", "model.", "backbone."};
};

/// What load_weights did.
struct LoadReport {
  std::string prefix;               ///< taken off every name
  int64_t loaded = 0;               ///< tensors copied
  std::vector<std::string> missing; ///< num_batches_tracked that the file does not have: left as they were
};

/// Copies weights into a module: a plan for every tensor first, then the copy, so that a refused file changes nothing.
/// Every tensor of the module must be there with its shape (num_batches_tracked may be missing), and no other.
/// Floating point types are converted.
///
/// Errors   DataError  `[weights] fc.weight must be (10, 512), got (1000, 512)`;
///          `[weights] 3 names are missing: layer1.0.bn1.weight, ... (nearest in file: layer1.0.norm1.weight)`;
///          `[weights] 2 names are not in the model: head.weight, head.bias (nearest in model: fc.weight)`.
LoadReport load_weights(torch::nn::Module& module, const StateDict& weights, const LoadOptions& options = {});

}  // namespace ballast
