#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <ballast/io/pt_file.h>
#include <ballast/weights/state_dict.h>

namespace ballast {

/// A file of weights, read.
struct WeightsFile {
  std::filesystem::path path;  ///< of the file itself, where a run or a model folder was named
  WeightsKind kind = WeightsKind::safetensors;
  StateDict state;             ///< on the CPU
  /// Of a .pt file: where the state dict stood ("state_dict_ema"), and what beside it is no tensor.
  std::string wrapper;
  std::vector<std::string> skipped;
  std::map<std::string, std::string> metadata;  ///< of safetensors
};

/// Reads weights, told by content, not by name:
///   safetensors   io/safetensors
///   .pt           io/pt_file: a restricted reader, nothing in the file can run
///   TorchScript   torch::jit::load, after the CRC-32 of every file in it; parameters and buffers by name. LibTorch
///                 compiles such a module's code, and runs its __setstate__ where it has one: only for files you trust.
///   a folder      a run or a model folder: its model.safetensors
/// Errors   DataError with path, cause and remedy.
WeightsFile open_weights(const std::filesystem::path& path);

/// Writes a state dict in the format that the name's end says: .safetensors; .pt, .pth or .bin (io/pt_file).
/// Errors   std::invalid_argument for another end: `[weights] OUT must end in .safetensors, .pt, .pth or .bin, got ...`;
///          StorageError.
void save_weights_file(FileSystem& fs, const std::filesystem::path& path, const StateDict& state,
                       const std::map<std::string, std::string>& metadata = {});

/// "safetensors", "pt", "torchscript", "pickle"
std::string_view weights_kind_name(WeightsKind kind);

}  // namespace ballast
