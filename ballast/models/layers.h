#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include <ballast/base/act.h>
#include <ballast/drop/alpha_dropout.h>
#include <ballast/drop/catalog.h>
#include <ballast/drop/drop_block.h>
#include <ballast/drop/drop_connect.h>
#include <ballast/drop/drop_path.h>
#include <ballast/drop/dropout.h>
#include <ballast/drop/patch_dropout.h>
#include <ballast/drop/shake_drop.h>
#include <ballast/drop/spatial_dropout.h>
#include <ballast/init/fixup.h>
#include <ballast/init/skip_init.h>
#include <ballast/models/model.h>
#include <ballast/norm/fold.h>
#include <ballast/norm/norm.h>
#include <ballast/norm/parametrization.h>

// The layers of the catalog's models. Unlike LibTorch's own they draw nothing when they are made (room init does that,
// by key), so that building a model never touches the global generator.

namespace ballast::detail {

struct Style;

/// A layer with a weight, plain or computed from other parameters as Style::weight says.
struct WeightLayer : torch::nn::Module, FoldableLayer {
  /// The weight to compute with.
  torch::Tensor effective_weight() const;
  /// What forward hands on.
  torch::Tensor after(torch::Tensor y) const { return parametrization ? parametrization->after(std::move(y), bias) : y; }
  /// Takes a weight: the computed one becomes it, or (weight_std) its standardized form with gain 1.
  void set_weight(const torch::Tensor& w);
  /// The parameter that makes the weight 0 where it is 0, apart from the weight itself; undefined if there is none.
  torch::Tensor scale() const { return parametrization ? parametrization->scale() : gain; }
  std::string text() const;
  std::pair<torch::Tensor, torch::Tensor> weight_and_bias() override { return {effective_weight(), bias}; }
  /// Plain values: a computed weight is not folded into (no norm follows it).
  void set_weight_and_bias(const torch::Tensor& w, const torch::Tensor& b) override;

  WeightForm form = WeightForm::plain;
  Act act = Act::none;            // the activation before a standardized weight
  torch::Tensor weight, bias;     // weight: the parameter that a start is drawn into
  torch::Tensor gain;             // of weight_std
  Parametrization* parametrization = nullptr;  // of weight and spectral: the child `parametrizations`

 protected:
  WeightLayer(std::vector<int64_t> shape, bool with_bias, WeightForm form, Act act);
};

struct Conv2d : WeightLayer {
  Conv2d(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding, bool with_bias);
  /// With the style's weight, and a bias unless a norm follows.
  Conv2d(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding, const Style& style);
  torch::Tensor forward(const torch::Tensor& x) const;
  void pretty_print(std::ostream& stream) const override;
  int64_t stride, padding;
};

struct Linear : WeightLayer {
  Linear(int64_t in, int64_t out, bool with_bias = true);
  Linear(int64_t in, int64_t out, const Style& style);
  torch::Tensor forward(const torch::Tensor& x);
  void pretty_print(std::ostream& stream) const override;
  /// Drops its weights from now on (drop_connect); with p = 0 nothing changes.
  void connect(const DropSpec& spec);
  DropConnect drop_connect{nullptr};
};

/// Children under their numbers, as torch::nn::Sequential names them; they are called by their owner.
struct Group : torch::nn::Module {
  template <class T>
  std::shared_ptr<T> add(std::shared_ptr<T> child) {
    return register_module(std::to_string(children().size()), std::move(child));
  }
};

/// What every block of a model needs to know.
struct Style {
  NormSpec norm;
  Act act;
  /// A residual net without norms that starts by fixup: scalar biases and multipliers stand where norms would.
  bool fixup = false;
  bool may_have_bias = true;
  /// Convolutions before a norm or a scalar bias need no bias.
  bool conv_bias() const { return may_have_bias && norm.kind == NormKind::none && !fixup; }
  /// This style for a convolution that has no bias in any case.
  Style without_bias() const {
    Style style = *this;
    style.may_have_bias = false;
    return style;
  }
  /// How layers inside the model (not the classifier) compute their weight.
  WeightForm weight() const { return norm.weight; }
  /// A norm of `channels` channels whose input nobody else uses, with this style's activation or without.
  NormOptions normed(int64_t channels, bool with_act) const;
};

Style style_of(const ModelOptions& options);

/// x + b where the model has such a bias, else x.
torch::Tensor shifted(const torch::Tensor& x, const ScalarBias& b);
/// The drops of a model's options, taken apart. `places` are the stems that the model has a place for; another one with
/// p > 0 throws.
struct DropPlan {
  DropSpec dropout, spatial, alpha, connect, block, path, patch, shake;
};
DropPlan drops_of(const ModelOptions& options, std::initializer_list<std::string_view> places);

/// Registers a drop under `name`, or gives an empty holder where p = 0: nothing then runs.
Dropout add_dropout(torch::nn::Module& owner, const std::string& name, const DropSpec& spec);
AlphaDropout add_alpha_dropout(torch::nn::Module& owner, const std::string& name, const DropSpec& spec);
SpatialDropout2d add_spatial_dropout(torch::nn::Module& owner, const std::string& name, const DropSpec& spec);
DropBlock add_drop_block(torch::nn::Module& owner, const std::string& name, const DropSpec& spec);
/// `p` in place of the spec's own: it grows with depth.
DropPath add_drop_path(torch::nn::Module& owner, const std::string& name, const DropSpec& spec, double p);
/// Likewise.
ShakeDrop add_shake_drop(torch::nn::Module& owner, const std::string& name, double p);

/// x through a drop that may be empty.
template <class Holder>
torch::Tensor through(Holder& drop, const torch::Tensor& x) {
  return drop.is_empty() ? x : drop->forward(x);
}

/// What makes a branch 0 at its start that ends in this layer and norm: the norm's weight if it is learned, else the
/// scale of the layer's computed weight; undefined if there is neither.
torch::Tensor last_scale(const WeightLayer& layer, const NormImpl& norm);

/// Fills `model` with the start of `plain`, the same model with plain weights.
void take_start(const Model& plain, Model& model);

/// Throws unless x is (N, options.in_channels, h, w); with `fixed`, h and w must be those of the options.
void check_input(const torch::Tensor& x, const ModelOptions& options, bool fixed);

// One maker per family; `name` is parsed from options.name, and options have no auto left.
std::shared_ptr<Model> make_mlp(const ModelOptions& options);
std::shared_ptr<Model> make_lenet(const ModelOptions& options);
std::shared_ptr<Model> make_plain_cnn(const ModelOptions& options);
std::shared_ptr<Model> make_resnet(const ModelOptions& options);
std::shared_ptr<Model> make_wide_resnet(const ModelOptions& options);
std::shared_ptr<Model> make_vit(const ModelOptions& options);
std::shared_ptr<Model> make_rnn(const ModelOptions& options);

}  // namespace ballast::detail
