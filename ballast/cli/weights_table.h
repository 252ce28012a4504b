#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <ballast/io/safetensors.h>

#include "session.h"

namespace ballast::cli {

/// A tensor of a file to be shown; `bytes` is asked for once, in C order, and may own what it returns until the next call.
struct ShownTensor {
  std::string name;
  SafetensorsDType dtype = SafetensorsDType::f32;
  std::vector<int64_t> shape;
  std::function<std::span<const std::byte>()> bytes;
};

/// What is known about a file beside its tensors.
struct ShownFile {
  std::filesystem::path path;
  std::string kind;      ///< safetensors, pt, torchscript
  std::string wrapper = {};  ///< of .pt
  std::vector<std::string> skipped = {};
  std::map<std::string, std::string> metadata = {};
};

/// The report of `inspect FILE`: name, type, shape and statistics of each tensor, by name.
int show_weights(const Session& session, const ShownFile& file, std::vector<ShownTensor> tensors);

}  // namespace ballast::cli
