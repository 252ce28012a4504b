#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <ballast/norm/parametrization.h>

namespace ballast {

/// Options of weight_norm and its modules.
struct WeightNormOptions {
  /// The dimension that keeps a norm of its own, -d..d-1; none: one norm for all of v. PyTorch's default 0 is the outputs
  /// of Linear and Conv2d, but the inputs of ConvTranspose2d. [fixed]
  std::optional<int64_t> dim = 0;
};

/// Weight normalization: length and direction of a weight as separate parameters.
///
///   w = g v / max(|v|, 1e-12),   |v| the Euclidean norm over all dimensions but dim
///
/// Shape    v: any of at least 1 dimension; g: v's with 1 everywhere but at dim (none: any one element). Result: v's shape.
/// Gradient dg = sum(G v) / |v|, dv = (g / |v|) (G - dg v / |v|); where v is 0, dv is G g / 1e-12.
/// Source   Salimans and Kingma 2016, arXiv:1602.07868.
/// Not      weight standardization, which also subtracts a mean and has no learned length.
/// Errors   std::invalid_argument `[weight_norm] dim must be in [-4, 3], got 4`;
///          `[weight_norm] g must have shape (8, 1, 1, 1), got (8)`; `[weight_norm] v must be floating point, got Long`.
torch::Tensor weight_norm(const torch::Tensor& v, const torch::Tensor& g, const WeightNormOptions& options = {});

/// g and v of a weight as parametrizations.weight.original0 and original1. A new one has w as v, |v| as g, so that it
/// computes w.
class WeightNormParametrization : public torch::nn::Cloneable<WeightNormParametrization>, public Parametrization {
 public:
  using Options = WeightNormOptions;
  static constexpr const char* kName = "ballast::WeightNorm";

  struct Parts : torch::nn::Cloneable<Parts> {
    Parts(const torch::Tensor& v, const torch::Tensor& g) : original0(g), original1(v) { reset(); }
    void reset() override;
    torch::Tensor original0, original1;
  };

  WeightNormParametrization(const torch::Tensor& w, WeightNormOptions options, bool transposed);

  torch::Tensor compute(bool training) override;
  torch::Tensor drawn() const override { return weight->original1; }
  torch::Tensor scale() const override { return weight->original0; }
  void refresh() override;
  /// Does something within weight_norm_data_init only.
  torch::Tensor after(torch::Tensor y, const torch::Tensor& bias) override;
  bool load_old_names(torch::serialize::InputArchive& archive) override;
  void reset() override;

  WeightNormOptions options;
  bool transposed;
  std::shared_ptr<Parts> weight;

  /// Of weight_norm_data_init: what a layer has seen, and what it will be scaled and shifted by.
  struct DataInit {
    std::string layer;
    torch::Tensor bias, scale, shift;  ///< scale and shift: of each channel, undefined before the layer has run
  };
  std::shared_ptr<DataInit> data_init;
};

/// Layers with a normalized weight; the weight is computed in each forward.
///
///   Names    bias; parametrizations.weight.original0 (g), original1 (v); archives with weight_g and weight_v load
///   remove() a plain torch::nn layer that holds the effective weight g v / |v|
using WeightNormConv2dImpl = ReparametrizedLayerImpl<Conv2dLayerOptions, WeightNormParametrization>;
using WeightNormConvTranspose2dImpl = ReparametrizedLayerImpl<ConvTranspose2dLayerOptions, WeightNormParametrization>;
using WeightNormLinearImpl = ReparametrizedLayerImpl<LinearLayerOptions, WeightNormParametrization>;
TORCH_MODULE(WeightNormConv2d);
TORCH_MODULE(WeightNormConvTranspose2d);
TORCH_MODULE(WeightNormLinear);

/// Data-dependent start (section 3 of the paper): in one forward pass, in the order of execution, each weight-normalized
/// layer takes g /= std_c and b = (b - mean_c) / std_c, mean and standard deviation of its result's channel c over the
/// batch and all positions, and hands on the result so normalized. A layer that runs again keeps what its first run gave.
/// Nothing changes if an error is thrown. Layers whose dim is not their outputs' (none; ConvTranspose2d with dim 0), and
/// layers without bias, are left alone. Returns the number of layers that were set.
///
/// Errors   std::invalid_argument `[weight_norm] channel 3 of conv1 must vary, got std 0`; what forward throws.
int64_t weight_norm_data_init(torch::nn::Module& model, const std::function<torch::Tensor(const torch::Tensor&)>& forward,
                              const torch::Tensor& x);

}  // namespace ballast
