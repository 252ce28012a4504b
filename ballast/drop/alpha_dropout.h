#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <ballast/base/key.h>
#include <ballast/drop/drop_layer.h>

namespace ballast {

/// Options of alpha_dropout and AlphaDropout.
struct AlphaDropoutOptions {
  /// p, probability of dropping, in [0, 1].
  double p = 0.5;
  /// Whole channels of (N, C, ...) in place of elements ("feature alpha dropout").
  bool channelwise = false;
  /// Masks of forwards outside any StepScope.
  Key key = {};
};

/// Dropout for self-normalizing nets: dropped values become SELU's lower limit, and mean 0 and variance 1 stay.
///
///   y = a (m x + (1 - m) A) + b,   A = -1.7580993408473766,  a = ((1 - p)(1 + p A^2))^-1/2,  b = -a p A
///
/// Shape    x: (N, ...), channelwise (N, C, ...), floating point. Result: same shape, dtype and memory format.
/// Eval     identity: returns x itself; so does p = 0.  p = 1: zeros with zero gradients.
/// Random   draws as dropout's, channelwise as spatial_dropout's.
/// Source   Klambauer et al. 2017, arXiv:1706.02515. For layers behind a SELU only.
/// Not      dropout, which would change the mean and variance that SELU keeps. LibTorch's functional form defaults to
///          training = false.
/// Errors   std::invalid_argument: `[alpha_dropout] p must be in [0, 1], got 1.5`; x as in dropout.
torch::Tensor alpha_dropout(const torch::Tensor& x, const AlphaDropoutOptions& options, bool training, Key key,
                            int64_t first_row = 0);

class AlphaDropoutImpl : public torch::nn::Cloneable<AlphaDropoutImpl>, public DropLayer {
 public:
  explicit AlphaDropoutImpl(AlphaDropoutOptions options = {});
  torch::Tensor forward(const torch::Tensor& x);
  void reset() override {}
  void pretty_print(std::ostream& stream) const override;
  std::string_view stem() const override { return "alpha_dropout"; }
  double drop_rate() const override { return options.p; }
  void set_drop_rate(double p) override;

  AlphaDropoutOptions options;
};
TORCH_MODULE(AlphaDropout);

}  // namespace ballast
