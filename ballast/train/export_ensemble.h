#pragma once

#include <filesystem>
#include <string>

#include <torch/types.h>

#include <ballast/io/file.h>

namespace ballast {

class Ensemble;

/// Writes an ensemble as one TorchScript module that needs no ballast: all nets and the rule.
///
///   forward(x)   x: (N, C, H, W) float32 in [0, 1], resized as the members' pipeline does; each
///                net normalizes it as it was trained. Gives (N, K) probabilities, as
///                Ensemble::predict does: combined, calibrated. The label is their argmax.
///
/// Then opens the file again and compares.
/// Returns  the largest difference of its probabilities to those of ensemble.predict(x).
/// Errors   std::invalid_argument `[export] members must take the same picture, got ...` if they
///          are resized in different ways; those of write_torchscript(); StorageError.
double write_ensemble_torchscript(FileSystem& fs, const std::filesystem::path& path,
                                  const Ensemble& ensemble, const torch::Tensor& x);

}  // namespace ballast
