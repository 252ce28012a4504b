#pragma once

#include <torch/nn/module.h>

#include <string>
#include <vector>

#include <ballast/base/act.h>
#include <ballast/base/key.h>

namespace ballast {

/// A model that names its own recipe (what --init auto means) and its classifier.
struct HasRecipe {
  virtual ~HasRecipe() = default;
  /// A name of init/catalog.h, such as resnet.
  virtual std::string recipe() const = 0;
  /// The dotted name of the last linear layer, such as fc.
  virtual std::string head() const = 0;
};

/// Options of init_model.
struct RecipeOptions {
  /// auto (the model's own: HasRecipe), or a value of init/catalog.h.
  std::string recipe = "auto";
  /// The model's activation, for recipes that count its gain.
  Act act = Act::relu;
  /// Of the run: parameter `name` is drawn from key.fold_in("init").fold_in(name).
  Key key = {};
};

/// What happened to one parameter.
struct RecipeRow {
  std::string name;
  std::string rule;              ///< such as "kaiming_normal out relu", "zero"
  bool zero_on_purpose = false;  ///< a weight that starts at 0 by design (zero_gamma, the head of vit)
};
using RecipeReport = std::vector<RecipeRow>;

/// Draws every parameter of a model by a recipe, and sets norms' buffers to their start. Layers are told by their
/// parameters: a weight of 2 dimensions is a linear layer's, of 3 to 5 a convolution's, of 1 a norm's.
///
///   recipe                       convolution                  linear                     other
///   resnet, wide_resnet          kaiming_normal out relu      head: torch rule, bias 0   norm 1/0; resnet: zero_gamma
///   plain_cnn, mlp, lenet        kaiming_normal in,           same, bias 0;              tanh, sigmoid: xavier_normal
///                                second_moment                head gain 1                with that gain
///   vit                          lecun_normal, bias 0         trunc_normal 0.02, bias 0; cls_token N(0, 1e-6);
///                                                             head 0                     pos_embed as linear
///   rnn                          -                            per gate: input            bias 0; LSTM's forget
///                                                             xavier_uniform,            quarter of bias_ih 1;
///                                                             recurrent orthogonal       head xavier_uniform
///   torch                        U(+-1/sqrt fan_in), bias too same                       LibTorch's start
///   he, xavier, lecun,           that fill, gain of act       same                       norm 1/0, bias 0
///   orthogonal                   (xavier: tanh 5/3, else 1)
///   delta_orthogonal             that fill; orthogonal where  orthogonal                 norm 1/0, bias 0
///                                groups > 1 or out < in
///   efficientnet                 normal sqrt(2/fan_out)       U(+-1/sqrt fan_out)        norm 1/0, bias 0
///   lsuv                         the model's own              same; head 0               then lsuv() on data (lsuv.h)
///   fixup                        fixup.h                      same                       scalar biases 0, gates as made
///   zeros, constant:v, normal:s  that fill                    same                       norm 1/0, bias 0
///
/// A model of recipe resnet without norms takes Fixup's weights. ScalarGate and LayerScale start as their options say under
/// every recipe; parameters of norms other than weight and bias keep what the norm made them.
/// Random   no bit depends on threads, or on the other layers.
/// Errors   std::invalid_argument: unknown recipe; `[recipes] auto needs a model that names its recipe`; those of fixup_;
///          `[recipes] vit must cover every parameter, got stem.foo`.
RecipeReport init_model(torch::nn::Module& model, const RecipeOptions& options);

}  // namespace ballast
