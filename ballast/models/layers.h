#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include <ballast/base/act.h>
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
  torch::Tensor forward(const torch::Tensor& x) const;
  void pretty_print(std::ostream& stream) const override;
  torch::Tensor weight, bias;
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
