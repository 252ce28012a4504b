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
#include <ballast/drop/spatial_dropout.h>
#include <ballast/init/fixup.h>
#include <ballast/init/skip_init.h>
#include <ballast/models/model.h>
#include <ballast/norm/norm.h>

// The layers of the catalog's models. Unlike LibTorch's own they draw nothing when they are made (room init does that,
// by key), so that building a model never touches the global generator.

namespace ballast::detail {

struct Conv2d : torch::nn::Module {
  Conv2d(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding, bool with_bias);
  torch::Tensor forward(const torch::Tensor& x) const;
  void pretty_print(std::ostream& stream) const override;
  torch::Tensor weight, bias;
  int64_t stride, padding;
};

struct Linear : torch::nn::Module {
  Linear(int64_t in, int64_t out, bool with_bias = true);
  torch::Tensor forward(const torch::Tensor& x);
  void pretty_print(std::ostream& stream) const override;
  /// Drops its weights from now on (drop_connect); with p = 0 nothing changes.
  void connect(const DropSpec& spec);
  torch::Tensor weight, bias;
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
  /// Convolutions before a norm or a scalar bias need no bias.
  bool conv_bias() const { return norm.kind == NormKind::none && !fixup; }
  /// A norm of `channels` channels whose input nobody else uses, with this style's activation or without.
  NormOptions normed(int64_t channels, bool with_act) const;
};

Style style_of(const ModelOptions& options);

/// x + b where the model has such a bias, else x.
torch::Tensor shifted(const torch::Tensor& x, const ScalarBias& b);
/// The drops of a model's options, taken apart. `places` are the stems that the model has a place for; another one with
/// p > 0 throws.
struct DropPlan {
  DropSpec dropout, spatial, alpha, connect, block, path, patch;
};
DropPlan drops_of(const ModelOptions& options, std::initializer_list<std::string_view> places);

/// Registers a drop under `name`, or gives an empty holder where p = 0: nothing then runs.
Dropout add_dropout(torch::nn::Module& owner, const std::string& name, const DropSpec& spec);
AlphaDropout add_alpha_dropout(torch::nn::Module& owner, const std::string& name, const DropSpec& spec);
SpatialDropout2d add_spatial_dropout(torch::nn::Module& owner, const std::string& name, const DropSpec& spec);
DropBlock add_drop_block(torch::nn::Module& owner, const std::string& name, const DropSpec& spec);
/// `p` in place of the spec's own: it grows with depth.
DropPath add_drop_path(torch::nn::Module& owner, const std::string& name, const DropSpec& spec, double p);

/// x through a drop that may be empty.
template <class Holder>
torch::Tensor through(Holder& drop, const torch::Tensor& x) {
  return drop.is_empty() ? x : drop->forward(x);
}

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
