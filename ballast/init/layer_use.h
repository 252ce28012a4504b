#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <map>
#include <optional>
#include <string>

#include <ballast/probe/observer.h>

namespace ballast::detail {

/// A parameter of at least two dimensions and the layer that holds it.
struct Owner {
  std::string layer;      ///< features.4; the parameter's own name where it has no layer
  std::string parameter;  ///< features.4.weight
  torch::Tensor weight, bias;  ///< bias: of the same layer, may be undefined
};

/// Parameters by their storage.
using Owners = std::map<const c10::StorageImpl*, Owner>;
Owners owners_of(const torch::nn::Module& model);

const c10::StorageImpl* storage_of(const torch::Tensor& t);

/// An operator that is linear in a weight.
struct LayerUse {
  const Owner* owner = nullptr;  ///< nullptr: the weight is computed from others
  torch::Tensor bias;            ///< added by the operator itself
  int64_t channel_dim = -1;      ///< of its output
  int64_t groups = 1;
};

/// What `op` is, if it is a convolution, a linear layer, or a matrix product with a parameter.
std::optional<LayerUse> layer_use(const ObservedOp& op, const Owners& owners);

/// Hands on its input: views, copies, dropout.
bool passes_on(const std::string& op);
/// Normalizes activations.
bool is_norm_op(const std::string& op);

}  // namespace ballast::detail
