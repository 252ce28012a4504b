#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

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

/// Reads a .safetensors file. The tensors own their memory. Other kinds of files: weights_file.h.
/// Errors   DataError with the path: not a valid file; a dtype that LibTorch does not have.
StateDict read_weights(const std::filesystem::path& path);

/// The same from the bytes of a file; `label` names it in errors.
StateDict decode_weights(std::vector<std::byte> bytes, const std::string& label);

/// The bytes that write_weights writes.
std::vector<std::byte> encode_weights(const StateDict& weights);

/// Copies every tensor of `from` into the module's tensor of that name, which keeps its memory.
/// Errors   DataError `[weights] LABEL: what is required, got what` before anything is copied: a name of the one that the
///          other lacks, another shape or type.
void copy_into(torch::nn::Module& module, const StateDict& from, const std::string& label);
/// The same for tensors of any kind.
void copy_into(const StateDict& to, const StateDict& from, const std::string& label);

/// Writes a .safetensors file, atomically: the bytes that Python's `safetensors.torch.save_file` writes for the same
/// tensors. Tensors on other devices are copied.
/// Errors   StorageError.
void write_weights(FileSystem& fs, const std::filesystem::path& path, const StateDict& weights,
                   const std::map<std::string, std::string>& metadata = {});

}  // namespace ballast
