#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <ballast/base/key.h>
#include <ballast/drop/drop_layer.h>

namespace ballast {

/// Options of patch_dropout and PatchDropout.
struct PatchDropoutOptions {
  /// p, share of the patches that is left out, in [0, 1).
  double p = 0.5;
  /// Tokens at the front that always stay (the class token), >= 0.
  int64_t num_prefix_tokens = 1;
  /// Masks of forwards outside any StepScope.
  Key key = {};
};

/// Tokens that stay, and where they stood.
struct PatchDropoutResult {
  torch::Tensor x;        ///< (N, prefix + kept, D)
  torch::Tensor indices;  ///< (N, kept) int64, places behind the prefix, ascending; undefined where nothing was dropped
};

/// Trains a transformer on a part of each picture's patches: less work, and a regularizer.
///
///   kept = max(1, floor(L' (1 - p))) of the L' tokens behind the prefix, those of least (draw, place), in order
///
/// Shape    x: (N, L, D), floating point. Result: (N, prefix + kept, D). No rescaling.
/// Eval     identity; so is p = 0.
/// Random   token l of row n uses draw (first_row + n) L' + l of `key`, 32 bits.
/// Source   Liu et al. 2022, arXiv:2208.07220.
/// Not      dropout on tokens: the others are not computed at all. Positions must have been added before.
/// Errors   std::invalid_argument: `[patch_dropout] p must be in [0, 1), got 1`;
///          `[patch_dropout] num_prefix_tokens must be < 197, got 200`; x not (N, L, D).
PatchDropoutResult patch_dropout(const torch::Tensor& x, const PatchDropoutOptions& options, bool training, Key key,
                                 int64_t first_row = 0);

class PatchDropoutImpl : public torch::nn::Cloneable<PatchDropoutImpl>, public DropLayer {
 public:
  explicit PatchDropoutImpl(PatchDropoutOptions options = {});
  torch::Tensor forward(const torch::Tensor& x);
  void reset() override {}
  void pretty_print(std::ostream& stream) const override;
  std::string_view stem() const override { return "patch_dropout"; }
  double drop_rate() const override { return options.p; }
  void set_drop_rate(double p) override;

  PatchDropoutOptions options;
};
TORCH_MODULE(PatchDropout);

}  // namespace ballast
