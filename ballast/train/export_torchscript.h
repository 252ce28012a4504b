#pragma once

#include <filesystem>
#include <string>

#include <ballast/io/file.h>
#include <ballast/train/model_program.h>

namespace ballast {

/// The forward pass as TorchScript source: one line for each operator.
std::string torchscript_source(const ModelProgram& program);

/// The program's result for x.
torch::Tensor run_program(const ModelProgram& program, const torch::Tensor& x);

/// Writes a TorchScript module that needs no ballast: the program as its forward(x), x (N, C, H, W), with the state dict's names.
/// Then opens the file again and compares.
/// Returns  the largest difference of its outputs to `expected` for `x`.
/// Errors   std::invalid_argument where LibTorch has no operator for a line; StorageError.
double write_torchscript(FileSystem& fs, const std::filesystem::path& path, const ModelProgram& program, const torch::Tensor& x,
                         const torch::Tensor& expected);

}  // namespace ballast
