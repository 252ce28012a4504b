#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ballast/models/model.h>

namespace ballast {

/// A layer of a model as it ran, in execution order.
struct LayerRow {
  std::string name;                  ///< dotted, as in the state dict: layer1.0.conv1
  std::string type;                  ///< what it is: conv 3x3 /2, linear, batch norm, max pool, lstm, attention, ...
  std::vector<int64_t> output;       ///< shape of its output for one sample, without the batch: (64, 56, 56)
  int64_t params = 0;                ///< its parameters; a layer that runs twice counts them once
  int64_t multiply_adds = 0;         ///< for one sample: convolutions, linear layers and matrix products; others 0

  friend bool operator==(const LayerRow&, const LayerRow&) = default;
};

struct LayerTotals {
  int64_t params = 0;
  int64_t multiply_adds = 0;
};

/// One forward pass of one sample (zeros of options().in_channels x height x width, eval mode, no gradients) under
/// observation. Modes and buffers stay as they were. Takes about the time of one forward pass.
std::vector<LayerRow> layer_table(Model& model);
/// The same at another size, for models that accept it.
std::vector<LayerRow> layer_table(Model& model, int64_t height, int64_t width);

LayerTotals totals(const std::vector<LayerRow>& rows);

}  // namespace ballast
