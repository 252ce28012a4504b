#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>

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
  /// The dropout family: values of drop/catalog.h such as "0.3" and "0.1:7"; "0": none. Each stands where the paper of its
  /// technique places it in this model (the rows' `where`); a model that has no such place is an error.
  std::string drop = "0";
  std::string spatial_dropout = "0";
  std::string alpha_dropout = "0";
  std::string drop_connect = "0";
  std::string drop_block = "0";
  std::string drop_path = "0";
  std::string patch_dropout = "0";
  std::string shake_drop = "0";
  /// Other rates by the layers' names: "layer3.*=0.2,fc*=0" (set_drop_rate_at); "0": none.
  std::string drop_rate = "0";

  friend bool operator==(const ModelOptions&, const ModelOptions&) = default;
};

/// The drops of `options` (const or not) by their name there.
template <class Options>
auto drop_fields(Options& o) {
  using Text = std::pair<const char*, decltype(&o.drop)>;
  return std::array<Text, 9>{Text{"drop", &o.drop},
                             {"spatial_dropout", &o.spatial_dropout},
                             {"alpha_dropout", &o.alpha_dropout},
                             {"drop_connect", &o.drop_connect},
                             {"drop_block", &o.drop_block},
                             {"drop_path", &o.drop_path},
                             {"patch_dropout", &o.patch_dropout},
                             {"shake_drop", &o.shake_drop},
                             {"drop_rate", &o.drop_rate}};
}

}  // namespace ballast
