#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <array>
#include <memory>
#include <vector>

#include <ballast/base/key.h>

namespace torch::nn {
class Conv2dImpl;
class ConvTranspose2dImpl;
class LinearImpl;
}  // namespace torch::nn

namespace ballast {

/// Sizes of a 2-d convolution, as torch::nn::Conv2d's.
struct Conv2dLayerOptions {
  int64_t in_channels = 0, out_channels = 0;
  std::array<int64_t, 2> kernel_size{3, 3}, stride{1, 1}, padding{0, 0}, dilation{1, 1};
  int64_t groups = 1;
  bool bias = true;
  /// Of the start: weight and bias U(+-1/sqrt fan_in) as LibTorch's, from key.fold_in("weight") and key.fold_in("bias").
  Key key = {};

  using Plain = torch::nn::Conv2dImpl;
};

/// Sizes of a transposed 2-d convolution, as torch::nn::ConvTranspose2d's. Start: as Conv2dLayerOptions.
struct ConvTranspose2dLayerOptions {
  int64_t in_channels = 0, out_channels = 0;
  std::array<int64_t, 2> kernel_size{3, 3}, stride{1, 1}, padding{0, 0}, output_padding{0, 0}, dilation{1, 1};
  int64_t groups = 1;
  bool bias = true;
  Key key = {};

  using Plain = torch::nn::ConvTranspose2dImpl;
};

/// Sizes of a linear layer, as torch::nn::Linear's. Start: as Conv2dLayerOptions.
struct LinearLayerOptions {
  int64_t in_features = 0, out_features = 0;
  bool bias = true;
  Key key = {};

  using Plain = torch::nn::LinearImpl;
};

/// How a layer's weight is computed from parameters that stand under `parametrizations.weight`, PyTorch's names. The
/// child `parametrizations` of a ReparametrizedLayer; see weight_norm.h and spectral_norm.h.
struct Parametrization {
  virtual ~Parametrization() = default;
  /// The weight, differentiable in the parameters.
  virtual torch::Tensor compute(bool training) = 0;
  /// The parameter that a start is drawn into, of the weight's shape.
  virtual torch::Tensor drawn() const = 0;
  /// The parameter that scales the weight, which is 0 where it is 0; undefined if there is none.
  virtual torch::Tensor scale() const { return {}; }
  /// Computes anew what follows from drawn().
  virtual void refresh() = 0;
  /// What the layer hands on for its result y (see weight_norm_data_init).
  virtual torch::Tensor after(torch::Tensor y, const torch::Tensor& bias) {
    (void)bias;
    return y;
  }
  /// Reads the names that PyTorch used before parametrizations, if the layer's archive has them.
  virtual bool load_old_names(torch::serialize::InputArchive& archive) = 0;
};

namespace detail {

// One overload for each kind of layer.
std::vector<int64_t> weight_shape(const Conv2dLayerOptions& options);
std::vector<int64_t> weight_shape(const ConvTranspose2dLayerOptions& options);
std::vector<int64_t> weight_shape(const LinearLayerOptions& options);
torch::Tensor apply(const Conv2dLayerOptions& options, const torch::Tensor& x, const torch::Tensor& w, const torch::Tensor& b);
torch::Tensor apply(const ConvTranspose2dLayerOptions& options, const torch::Tensor& x, const torch::Tensor& w, const torch::Tensor& b);
torch::Tensor apply(const LinearLayerOptions& options, const torch::Tensor& x, const torch::Tensor& w, const torch::Tensor& b);
/// A LibTorch layer that holds these very values; leaves the global generator as it was.
std::shared_ptr<torch::nn::Conv2dImpl> plain_layer(const Conv2dLayerOptions& options, const torch::Tensor& w, const torch::Tensor& b);
std::shared_ptr<torch::nn::ConvTranspose2dImpl> plain_layer(const ConvTranspose2dLayerOptions& options, const torch::Tensor& w, const torch::Tensor& b);
std::shared_ptr<torch::nn::LinearImpl> plain_layer(const LinearLayerOptions& options, const torch::Tensor& w, const torch::Tensor& b);

int64_t outputs_of(const Conv2dLayerOptions& options);
int64_t outputs_of(const ConvTranspose2dLayerOptions& options);
int64_t outputs_of(const LinearLayerOptions& options);
/// U(+-1/sqrt fan_in) by element number, fan_in that of a weight of this shape: LibTorch's start.
void draw_plain_start(const torch::Tensor& t, at::IntArrayRef weight_shape, Key key);

}  // namespace detail

/// A layer with a weight computed in forward: LibTorch has no hooks in C++.
///
///   Names    bias; parametrizations.weight.*, see the parametrization
///   clone    copies parameters and buffers
///   load     also reads archives with the names of PyTorch before parametrizations (weight_g, weight_orig, ...)
template <class LayerOptions, class P>
class ReparametrizedLayerImpl : public torch::nn::Cloneable<ReparametrizedLayerImpl<LayerOptions, P>> {
 public:
  using RuleOptions = typename P::Options;

  explicit ReparametrizedLayerImpl(LayerOptions layer, RuleOptions rule = {});

  torch::Tensor forward(const torch::Tensor& x);
  /// The weight that forward would use in eval mode.
  torch::Tensor weight();
  /// A plain LibTorch layer with that weight, and the same bias: the same function, without the cost.
  std::shared_ptr<typename LayerOptions::Plain> remove();

  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  void load(torch::serialize::InputArchive& archive) override;

  LayerOptions options;
  RuleOptions rule_options;
  std::shared_ptr<P> parametrizations;
  torch::Tensor bias;
};

}  // namespace ballast
