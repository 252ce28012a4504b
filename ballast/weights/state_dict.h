#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <filesystem>
#include <map>
#include <string>

#include <ballast/io/file.h>

namespace ballast {

/// Tensors by dotted name.
using StateDict = std::map<std::string, torch::Tensor>;

/// A module's parameters and buffers, without gradients; they share the module's memory.
StateDict state_dict(const torch::nn::Module& module);

/// Reads a .safetensors file. The tensors own their memory. Other kinds of files: weights_file.h.
/// Errors   DataError with the path: not a valid file; a dtype that LibTorch does not have.
StateDict read_weights(const std::filesystem::path& path);

/// Writes a .safetensors file, atomically: the bytes that Python's `safetensors.torch.save_file` writes for the same
/// tensors. Tensors on other devices are copied.
/// Errors   StorageError.
void write_weights(FileSystem& fs, const std::filesystem::path& path, const StateDict& weights,
                   const std::map<std::string, std::string>& metadata = {});

}  // namespace ballast
