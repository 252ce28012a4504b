#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <ballast/base/key.h>
#include <ballast/drop/drop_layer.h>

namespace ballast {

/// Options of spatial_dropout and SpatialDropout1d, 2d, 3d.
struct SpatialDropoutOptions {
  /// p, probability of dropping a channel of a sample, in [0, 1].
  double p = 0.5;
  Scaling scaling = Scaling::training;
  /// Masks of forwards outside any StepScope.
  Key key = {};
};

/// Drops whole channels, since neighbouring positions of a map carry the same information.
///
///   y_ncs = m_nc x_ncs / (1 - p),   m_nc ~ Bernoulli(1 - p), one draw per sample and channel
///
/// Shape    x: (N, C, ...), floating point. The modules take exactly (N, C, L), (N, C, H, W), (N, C, D, H, W): a 3-D input
///          of the 2d form is an error, since LibTorch reads it as (C, H, W) and PyTorch's Dropout1d as (N, C, L).
/// Eval     identity: returns x itself; so does p = 0. scaling inference: (1 - p) x.
/// Random   channel c of row n uses event (first_row + n) C + c of `key`, 32 bits.
/// Source   Tompson et al. 2014, arXiv:1411.4280. Also called Dropout2d, feature dropout.
/// Not      dropout (single elements), drop_block (contiguous regions).
/// Errors   std::invalid_argument: `[spatial_dropout] p must be in [0, 1], got 1.5`;
///          `[spatial_dropout] SpatialDropout2d needs (N, C, H, W), got (3, 32, 32)`.
torch::Tensor spatial_dropout(const torch::Tensor& x, const SpatialDropoutOptions& options, bool training, Key key,
                              int64_t first_row = 0);

/// What SpatialDropout1d, 2d and 3d share; `spatial` is the number of dimensions behind the channels.
class SpatialDropoutBase : public DropLayer {
 public:
  std::string_view stem() const override { return "spatial_dropout"; }
  double drop_rate() const override { return options.p; }
  void set_drop_rate(double p) override;

  SpatialDropoutOptions options;

 protected:
  SpatialDropoutBase(SpatialDropoutOptions options, int64_t spatial);
  torch::Tensor run(const torch::Tensor& x, bool training);
  void print(std::ostream& stream) const;
  int64_t spatial_;
};

class SpatialDropout1dImpl : public torch::nn::Cloneable<SpatialDropout1dImpl>, public SpatialDropoutBase {
 public:
  explicit SpatialDropout1dImpl(SpatialDropoutOptions o = {}) : SpatialDropoutBase(o, 1) {}
  torch::Tensor forward(const torch::Tensor& x) { return run(x, is_training()); }
  void reset() override {}
  void pretty_print(std::ostream& stream) const override { print(stream); }
};
TORCH_MODULE(SpatialDropout1d);

class SpatialDropout2dImpl : public torch::nn::Cloneable<SpatialDropout2dImpl>, public SpatialDropoutBase {
 public:
  explicit SpatialDropout2dImpl(SpatialDropoutOptions o = {}) : SpatialDropoutBase(o, 2) {}
  torch::Tensor forward(const torch::Tensor& x) { return run(x, is_training()); }
  void reset() override {}
  void pretty_print(std::ostream& stream) const override { print(stream); }
};
TORCH_MODULE(SpatialDropout2d);

class SpatialDropout3dImpl : public torch::nn::Cloneable<SpatialDropout3dImpl>, public SpatialDropoutBase {
 public:
  explicit SpatialDropout3dImpl(SpatialDropoutOptions o = {}) : SpatialDropoutBase(o, 3) {}
  torch::Tensor forward(const torch::Tensor& x) { return run(x, is_training()); }
  void reset() override {}
  void pretty_print(std::ostream& stream) const override { print(stream); }
};
TORCH_MODULE(SpatialDropout3d);

}  // namespace ballast
