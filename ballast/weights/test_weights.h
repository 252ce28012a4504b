#pragma once

// Helpers of the room's tests.

#include <cstdint>
#include <memory>

#include <torch/types.h>

#include <ballast/base/key.h>
#include <ballast/models/model.h>
#include <ballast/weights/state_dict.h>

namespace ballast {

inline std::shared_ptr<Model> resnet8(uint64_t seed, int64_t classes = 10, int64_t channels = 3) {
  return make_model({.name = "resnet8", .in_channels = channels, .num_classes = classes}, Key(seed));
}

/// The same names, dtypes and bits.
inline bool equal(const StateDict& a, const StateDict& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [name, tensor] : a) {
    if (!b.count(name) || b.at(name).scalar_type() != tensor.scalar_type() || !torch::equal(tensor, b.at(name))) return false;
  }
  return true;
}

}  // namespace ballast
