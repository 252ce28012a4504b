#pragma once

#include <ballast/norm/parametrization.h>

namespace ballast {

/// Options of spectral_norm and its modules.
struct SpectralNormOptions {
  /// Steps of the power iteration in each training forward, >= 1.
  int64_t n_power_iterations = 1;
  /// Least value of sigma and of the lengths that are divided by, > 0.
  double eps = 1e-12;
  /// The dimension that becomes the rows of W; modules take 1 for transposed convolutions, else 0. [fixed]
  int64_t dim = 0;
};

struct SpectralNormResult {
  torch::Tensor w, u, v;  ///< u, v: new tensors, without gradient
};

/// Spectral normalization: divides a weight by its largest singular value, estimated by power iteration.
///
///   u = W v / |W v|, v = W^T u / |W^T u|   (n times, while training)
///   sigma = u^T W v,   w = W / max(sigma, eps)      W the (rows, rest) matrix of the weight
///
/// Shape    weight: at least 2 dimensions; u: (rows), v: (rest). Result w: the weight's shape.
/// Gradient dW = (G - sum(G w) u v^T) / sigma, in training and in eval; u and v count as constants.
/// Eval     no iteration: the same bits each time.
/// Source   Miyato et al. 2018, arXiv:1802.05957.
/// Not      an exact norm: sigma is a lower bound of the largest singular value until the iteration has converged.
/// Errors   std::invalid_argument `[spectral_norm] n_power_iterations must be >= 1, got 0`;
///          `[spectral_norm] eps must be > 0, got 0`; `[spectral_norm] weight must have at least 2 dimensions, got (8)`;
///          `[spectral_norm] u and v must have sizes 8 and 27, got 8 and 8`.
SpectralNormResult spectral_norm(const torch::Tensor& weight, const torch::Tensor& u, const torch::Tensor& v, bool training,
                                 const SpectralNormOptions& options = {});

/// The weight as parametrizations.weight.original, u and v as buffers parametrizations.weight.0._u and ._v. A new one
/// draws u and v and iterates 15 times, so that eval is right from the start.
class SpectralNormParametrization : public torch::nn::Cloneable<SpectralNormParametrization>, public Parametrization {
 public:
  using Options = SpectralNormOptions;
  static constexpr const char* kName = "ballast::SpectralNorm";

  struct Vectors : torch::nn::Cloneable<Vectors> {
    Vectors(const torch::Tensor& u, const torch::Tensor& v) : _u(u), _v(v) { reset(); }
    void reset() override;
    torch::Tensor _u, _v;
  };
  struct Parts : torch::nn::Cloneable<Parts> {
    Parts(const torch::Tensor& w, std::shared_ptr<Vectors> uv) : original(w), vectors(std::move(uv)) { reset(); }
    void reset() override;
    torch::Tensor original;
    std::shared_ptr<Vectors> vectors;
  };

  SpectralNormParametrization(const torch::Tensor& w, SpectralNormOptions options, bool transposed);

  torch::Tensor compute(bool training) override;
  torch::Tensor drawn() const override { return weight->original; }
  /// u and v from new draws and 15 iterations.
  void refresh() override;
  bool load_old_names(torch::serialize::InputArchive& archive) override;
  void reset() override;

  /// n_power_iterations may change later.
  SpectralNormOptions options;
  std::shared_ptr<Parts> weight;
};

/// Layers with a spectrally normalized weight; the weight is computed in each forward, and a training forward iterates.
/// Two forwards before a backward are legal: the graph never sees the buffers.
///
///   Names    bias; parametrizations.weight.original, parametrizations.weight.0._u, ._v; archives with weight_orig (and
///            weight_u, weight_v, or without) load
///   remove() a plain torch::nn layer that holds the effective weight W / sigma
using SpectralNormConv2dImpl = ReparametrizedLayerImpl<Conv2dLayerOptions, SpectralNormParametrization>;
using SpectralNormConvTranspose2dImpl = ReparametrizedLayerImpl<ConvTranspose2dLayerOptions, SpectralNormParametrization>;
using SpectralNormLinearImpl = ReparametrizedLayerImpl<LinearLayerOptions, SpectralNormParametrization>;
TORCH_MODULE(SpectralNormConv2d);
TORCH_MODULE(SpectralNormConvTranspose2d);
TORCH_MODULE(SpectralNormLinear);

}  // namespace ballast
