#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>

#include <ballast/base/key.h>
#include <ballast/drop/drop_layer.h>

namespace ballast {

/// Options of shake_drop and ShakeDrop.
struct ShakeDropOptions {
  /// p, probability of shaking the branch of a sample instead of keeping it, in [0, 1]. A later change is effective.
  double p = 0.5;
  /// Draws of forwards outside any StepScope.
  Key key = {};
};

/// ShakeDrop: multiplies a residual branch by a random factor, and its gradient by another one.
///
///   forward    y_n  = (h_n + a_n - h_n a_n) x_n         h_n ~ Bernoulli(1 - p), a_n ~ U(-1, 1)
///   backward   dx_n = (h_n + b_n - h_n b_n) dy_n        b_n ~ U(0, 1), with the same h_n
///
/// so a branch is whole with probability 1 - p, else it may even change its sign, and its gradient is of a size that has
/// nothing to do with that. The backward is not the derivative of the forward: that disturbs the training, on purpose.
///
/// Shape    x: (N, ...), floating point: the end of a residual branch, behind its last norm. Result: same shape, dtype and
///          memory format.
/// Eval     (1 - p) x, the mean of the factor. p = 0: x itself, nothing is drawn.
/// Random   row n: h is event first_row + n of `key` (32 bits), a and b are uniform numbers first_row + n of
///          key.fold_in("alpha") and key.fold_in("beta"). Nothing is stored.
/// Source   Yamada et al. 2018, arXiv:1802.02375; p grows linearly with depth, to 0.5 at the last block.
/// Not      drop_path, which leaves branches out and saves their time.
/// Errors   std::invalid_argument: `[shake_drop] p must be in [0, 1], got 1.5`; a scalar x.
torch::Tensor shake_drop(const torch::Tensor& x, const ShakeDropOptions& options, bool training, Key key,
                         int64_t first_row = 0);

class ShakeDropImpl : public torch::nn::Cloneable<ShakeDropImpl>, public DropLayer {
 public:
  explicit ShakeDropImpl(ShakeDropOptions options = {});
  torch::Tensor forward(const torch::Tensor& x);
  void reset() override {}
  void pretty_print(std::ostream& stream) const override;
  std::string_view stem() const override { return "shake_drop"; }
  double drop_rate() const override { return options.p; }
  void set_drop_rate(double p) override;

  ShakeDropOptions options;
};
TORCH_MODULE(ShakeDrop);

}  // namespace ballast
