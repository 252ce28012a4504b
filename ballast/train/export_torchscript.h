#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include <ballast/io/file.h>
#include <ballast/train/model_program.h>

namespace torch::jit {
struct Module;
struct CompilationUnit;
}  // namespace torch::jit

namespace ballast {

/// The forward pass as TorchScript source: one line for each operator.
std::string torchscript_source(const ModelProgram& program);

/// The program as a module of `unit`: its forward(x), and its tensors under their names.
torch::jit::Module script_module(const ModelProgram& program, const std::string& class_name,
                                 const std::shared_ptr<torch::jit::CompilationUnit>& unit);

/// Writes a module, opens the file again and runs it for x.
/// Returns  the largest difference of its outputs to `expected`.
double write_module(FileSystem& fs, const std::filesystem::path& path,
                    const torch::jit::Module& module, const torch::Tensor& x,
                    const torch::Tensor& expected);

/// A number as code: 2.0.
std::string script_number(double value);

/// The program's result for x.
torch::Tensor run_program(const ModelProgram& program, const torch::Tensor& x);

/// Writes a TorchScript module that needs no ballast: the program as its forward(x), x (N, C, H, W), with the state dict's names.
/// Then opens the file again and compares.
/// Returns  the largest difference of its outputs to `expected` for `x`.
/// Errors   std::invalid_argument where LibTorch has no operator for a line; StorageError.
double write_torchscript(FileSystem& fs, const std::filesystem::path& path, const ModelProgram& program, const torch::Tensor& x,
                         const torch::Tensor& expected);

}  // namespace ballast
