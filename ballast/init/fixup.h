#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <ballast/base/key.h>
#include <ballast/init/recipes.h>

namespace ballast {

/// One learned number added everywhere: y = x + bias, parameter `bias` of shape (1), 0 at the start. Fixup puts one before
/// each convolution and activation.
class ScalarBiasImpl : public torch::nn::Cloneable<ScalarBiasImpl> {
 public:
  ScalarBiasImpl() { reset(); }
  torch::Tensor forward(const torch::Tensor& x) const { return x + bias; }
  void reset() override { bias = register_parameter("bias", torch::zeros({1})); }
  void pretty_print(std::ostream& stream) const override;

  torch::Tensor bias;
};
TORCH_MODULE(ScalarBias);

/// Fixup: a residual network without normalization that trains at the learning rate of a normalized one. With L branches of
/// m weights each, every weight is He normal (fan_out, ReLU), those in a branch times L^(-1/(2m-2)) (m = 2: L^-1/2, m = 3:
/// L^-1/4); the last weight of each branch and the head are 0; biases 0, gates (ScalarGate) 1 as the model made them.
///
/// The model brings what else the paper asks for: a ScalarBias before each convolution and activation and one multiplier
/// per branch (ResNets of the catalog with --norm none --init fixup have them), trained at lr/10.
/// Model    must be HasBranches; the head is HasRecipe::head().
/// Random   as init_model with recipe fixup, which this is.
/// Source   Zhang et al. 2019, arXiv:1901.09321.
/// Errors   std::invalid_argument `[fixup] model must have no norm layers, got layer1.0.bn1`;
///          `[fixup] model must have residual branches, got none`.
RecipeReport fixup_(torch::nn::Module& model, Key key);

}  // namespace ballast
