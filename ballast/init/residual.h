#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <string>
#include <vector>

#include <ballast/base/key.h>

namespace ballast {

/// A residual branch: x + branch(x).
struct Branch {
  std::string name;                    ///< such as layer2.0
  std::vector<torch::Tensor> weights;  ///< of its convolutions and linear layers, in forward order
  torch::Tensor last_norm_weight;      ///< undefined unless the branch ends in a norm with a weight
};

/// A model that names its residual branches.
struct HasBranches {
  virtual ~HasBranches() = default;
  virtual std::vector<Branch> branches() const = 0;
};

/// Sets the last norm's weight of each branch to 0: at the start each block is (the activation of) the identity.
///
/// Source   Goyal et al. 2017, arXiv:1706.02677. timm does it by default, torchvision does not.
/// Errors   std::invalid_argument if a branch does not end in a norm with a weight.
void zero_gamma_(const HasBranches& model);

}  // namespace ballast
