#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <ballast/base/key.h>
#include <ballast/drop/drop_layer.h>

namespace ballast {

/// Options of dropout and Dropout.
struct DropoutOptions {
  /// p, probability of dropping an element, in [0, 1]. A later change is effective.
  double p = 0.5;
  Scaling scaling = Scaling::training;
  /// Masks of forwards outside any StepScope.
  Key key = {};
};

/// Element dropout.
///
///   y_i = m_i x_i / (1 - p),   m_i ~ Bernoulli(1 - p), one draw per element
///
/// Shape    x: (N, ...), floating point. Result: same shape, dtype and memory format.
/// Eval     identity: returns x itself; so does p = 0. scaling inference: m x while training, (1 - p) x in eval.
/// p = 1    zeros, with zero gradients.
/// Random   element i of the batch uses draw first_row * (numel / N) + i of `key`, i counted in logical order whatever the
///          memory format: 16 bits, or 32 where p or 1 - p is below 2^-6. p is rounded to that grid (effective_p), also in
///          the scale, so that E[y] = x exactly. The result does not depend on threads or instruction set.
/// Exact    dropped values are 0 even where x is NaN or infinite.
/// Memory   no mask is stored: the backward draws it again from the key.
/// Source   Srivastava et al. 2014 (JMLR 15).
/// Not      spatial_dropout (whole channels), drop_connect (weights), alpha_dropout (for SELU).
/// Errors   std::invalid_argument: `[dropout] p must be in [0, 1], got 1.5`; `[dropout] x must be floating point, got Long`;
///          a scalar x.
torch::Tensor dropout(const torch::Tensor& x, const DropoutOptions& options, bool training, Key key,
                      int64_t first_row = 0);

/// The probability that dropout really meets: p rounded to 16 or 32 bits.
double effective_p(double p);

class DropoutImpl : public torch::nn::Cloneable<DropoutImpl>, public DropLayer {
 public:
  explicit DropoutImpl(DropoutOptions options = {});
  torch::Tensor forward(const torch::Tensor& x);
  void reset() override {}
  void pretty_print(std::ostream& stream) const override;
  std::string_view stem() const override { return "dropout"; }
  double drop_rate() const override { return options.p; }
  void set_drop_rate(double p) override;

  DropoutOptions options;
};
TORCH_MODULE(Dropout);

}  // namespace ballast
