#pragma once

#include <filesystem>
#include <string>

#include <ballast/io/file.h>
#include <ballast/train/model_program.h>

namespace ballast {

/// Writes a program as an ONNX model: opset 17, IR version 8, input "x" (N, C, H, W) float32, output "logits" (N, K), N any number; weights inside.
///
/// Results that do not depend on x are constants. A recurrent layer must have biases, one layer and one direction.
///
/// Errors   std::invalid_argument `[export] operator NAME cannot be written as ONNX`; StorageError.
void write_onnx(FileSystem& fs, const std::filesystem::path& path, const ModelProgram& program, const std::string& name);

}  // namespace ballast
