#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ballast/base/key.h>
#include <ballast/init/recipes.h>
#include <ballast/init/residual.h>
#include <ballast/models/model_options.h>

namespace ballast {

/// A model of the catalog: pictures in, one score (logit) per class out.
///
/// Shape    x: (N, in_channels, height, width), float32, normalized; result (N, num_classes). Models without linear
///          layers on the picture (all but mlp, lenet, vit_tiny, rnn) take other heights and widths too.
/// Layout   convolutional models keep the memory format of x: give channels_last for speed.
/// Names    of parameters and buffers are torchvision's or timm's where the architecture exists there.
class Model : public torch::nn::Module, public HasRecipe, public HasBranches {
 public:
  virtual torch::Tensor forward(torch::Tensor x) = 0;

  /// As given to make_model, with auto resolved.
  const ModelOptions& options() const { return options_; }
  /// The last linear layer: its name (fc, head) and the number of its inputs.
  virtual std::string classifier() const { return "fc"; }
  virtual int64_t num_features() const = 0;
  /// The first layer that sees the channels of the picture, such as conv1; "" if that is not a convolution.
  virtual std::string first_conv() const { return ""; }
  /// Convolutional: channels_last is its fast layout.
  bool prefers_channels_last() const;
  /// Parameters that take no weight decay beside those of at most one dimension, such as pos_embed.
  virtual std::vector<std::string> no_weight_decay() const { return {}; }

  /// Parameters trained at a part of the learning rate, with the factor: Fixup's scalars at a tenth.
  std::map<std::string, double> lr_scale() const;

  // For init (recipes.h, residual.h).
  std::string recipe() const override;
  std::string head() const override { return classifier(); }
  std::vector<Branch> branches() const override { return {}; }

  /// A copy with its own parameters and buffers, in the same mode (training or not), on `device` if given.
  std::shared_ptr<torch::nn::Module> clone(
      const torch::optional<torch::Device>& device = torch::nullopt) const override;

 protected:
  explicit Model(ModelOptions resolved) : options_(std::move(resolved)) {}
  ModelOptions options_;
};

/// Builds a model and draws its parameters by options.init: parameter `name` from run.fold_in("init").fold_in(name),
/// so the values do not depend on threads or on the other layers. `run` is Key(seed). The start lsuv needs data too:
/// this draws what it begins from, lsuv() (init/lsuv.h) does the rest.
/// Errors: std::invalid_argument for unknown names (the nearest is named), sizes and combinations that do not fit.
std::shared_ptr<Model> make_model(const ModelOptions& options, Key run);

/// The same without drawing: parameters hold unspecified values, to be loaded. Saves the time of the draws.
std::shared_ptr<Model> make_model_to_load(const ModelOptions& options);

/// Where a model drops: a row for each layer of the dropout family.
struct DropPlace {
  std::string name;  ///< dotted: layer2.0.path
  std::string stem;  ///< drop_path
  double p = 0;
};
std::vector<DropPlace> drop_places(const torch::nn::Module& model);

/// `options` with each auto replaced by the row's own value; init: fixup for a ResNet without norms. Errors as make_model's for names.
ModelOptions resolve(const ModelOptions& options);

}  // namespace ballast
