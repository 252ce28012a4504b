#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>
#include <span>

#include <ballast/base/key.h>
#include <ballast/drop/drop_layer.h>

namespace ballast {

/// How the probability of a seed follows from p.
enum class Gamma {
  exact,  ///< the mean of the map's drop probability is p, overlaps and borders counted
  paper,  ///< p HW / (b^2 V), which overlaps make realize less than p
};

/// What kept values are multiplied by.
enum class Rescale {
  expected,  ///< 1 / (1 - p): samples stay independent of each other
  sample,    ///< count / kept of the sample; 0 if nothing is kept
  batch,     ///< count / kept of the batch, as the reference code
  none,
};

/// Options of drop_block and DropBlock.
struct DropBlockOptions {
  /// p, share of the map that is dropped, in [0, 1). A later change is effective.
  double p = 0.1;
  /// b, side of a block, >= 1; along an axis shorter than b the block is as long as the axis.
  int64_t block_size = 7;
  /// Each channel its own blocks, or all channels of a sample the same.
  bool per_channel = true;
  Gamma gamma = Gamma::exact;
  Rescale rescale = Rescale::expected;
  /// Masks of forwards outside any StepScope.
  Key key = {};
};

/// Drops contiguous blocks of feature maps, since single elements can be guessed from their neighbours.
///
///   seeds  s_v ~ Bernoulli(gamma) on the V = prod(side - b + 1) corners where a block fits (any parity of b)
///   mask   m = 0 on the union of the blocks whose corner is a seed, else 1
///   y      = m x * factor (see Rescale)
///   gamma  exact: mean over the map of 1 - (1 - gamma)^k = p, where k blocks cover a position
///
/// Shape    x: (N, C, L), (N, C, H, W) or (N, C, D, H, W), floating point. Result: same shape, dtype and memory format.
/// Eval     identity: returns x itself; so does p = 0.
/// Random   corner v of map (n, c) uses number ((first_row + n) C + c) V + v of `key` (shared: (first_row + n) V + v): 16
///          bits, and 16 more of key.fold_in("low") where those equal the upper half of gamma's 32.
/// Source   Ghiasi et al. 2018, arXiv:1810.12890, with the exact gamma in place of its approximation, which realizes 9.3,
///          24 and 36 % for p 0.1, 0.3 and 0.5 on 14x14 maps with b 7.
/// Not      spatial_dropout (whole channels), dropout (single elements), Cutout (of pictures).
/// Errors   std::invalid_argument: `[drop_block] p must be in [0, 1), got 1`; `[drop_block] block_size must be >= 1, got 0`;
///          `[drop_block] x must be (N, C, H, W), got (8, 64)`.
torch::Tensor drop_block(const torch::Tensor& x, const DropBlockOptions& options, bool training, Key key,
                         int64_t first_row = 0);

/// gamma for maps of these sides. Errors as above.
double drop_block_gamma(std::span<const int64_t> sides, int64_t block_size, double p, Gamma rule = Gamma::exact);

class DropBlockImpl : public torch::nn::Cloneable<DropBlockImpl>, public DropLayer {
 public:
  explicit DropBlockImpl(DropBlockOptions options = {});
  torch::Tensor forward(const torch::Tensor& x);
  void reset() override {}
  void pretty_print(std::ostream& stream) const override;
  std::string_view stem() const override { return "drop_block"; }
  double drop_rate() const override { return options.p; }
  void set_drop_rate(double p) override;

  DropBlockOptions options;
};
TORCH_MODULE(DropBlock);

}  // namespace ballast
