#pragma once

#include <cstdint>
#include <string>

namespace ballast {

/// What a catalog model is built from (make_model in model.h). Needs no torch.
struct ModelOptions {
  /// NAME[:SIZE], a row of models/catalog.h with its size: resnet20, plain_cnn:30, mlp:2x256, rnn:gru:128.
  std::string name = "resnet8_wide";
  /// Channels and size of the pictures, each >= 1.
  int64_t in_channels = 3;
  int64_t height = 32;
  int64_t width = 32;
  /// Number of outputs, >= 1.
  int64_t num_classes = 10;
  /// auto (the row's own), or a value of norm/catalog.h: none, batch, group:8, layer, weight, ...
  std::string norm = "auto";
  /// auto (the row's own recipe), or a value of init/catalog.h: he, xavier, orthogonal, normal:0.01, ...
  std::string init = "auto";
  /// auto (the row's own), or an activation of base/act.h: relu, gelu, silu, tanh, ...
  std::string act = "auto";

  friend bool operator==(const ModelOptions&, const ModelOptions&) = default;
};

}  // namespace ballast
