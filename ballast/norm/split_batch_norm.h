#pragma once

#include <functional>
#include <vector>

#include <ballast/norm/batch_norm.h>

namespace ballast {

/// Options of SplitBatchNorm.
struct SplitBatchNormOptions {
  /// Of every part.
  BatchNormOptions norm;
  /// Equal parts that a training batch consists of, >= 2. [fixed]
  int64_t num_splits = 2;
};

/// Batch normalization of equal parts of a batch, each with its own statistics and parameters: clean and augmented (or
/// adversarial) samples that stand one after the other.
///
///   y = (norm_0(x_0), norm_1(x_1), ...),   x_j the j-th of num_splits equal parts of the rows
///
/// `norm` is called once for each part, in order.
/// Source   Xie et al. 2019, arXiv:1911.09665 (AdvProp).
/// Not      ghost batch norm, whose parts share parameters and running statistics.
/// Errors   std::invalid_argument `[split_batch_norm] batch must be divisible by num_splits, got 7 and 2`;
///          `[split_batch_norm] num_splits must be >= 2, got 1`.
torch::Tensor split_batch_norm(const torch::Tensor& x, int64_t num_splits,
                               const std::function<torch::Tensor(const torch::Tensor& part, int64_t split)>& norm);

/// While training part 0 goes through the main norm, part j through aux_bn.(j-1); eval: all rows through the main one.
///
///   Names   weight, bias, running_mean, running_var, num_batches_tracked; aux_bn.0.weight, ...: timm's
class SplitBatchNormImpl : public torch::nn::Cloneable<SplitBatchNormImpl>, public HasLayerRole {
 public:
  explicit SplitBatchNormImpl(SplitBatchNormOptions options);

  torch::Tensor forward(const torch::Tensor& x);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  LayerRole layer_role() const override { return LayerRole::norm; }
  /// Norm number j + 1 (aux_bn.j).
  std::shared_ptr<BatchNormImpl> aux(int64_t j) const;

  SplitBatchNormOptions options;
  torch::Tensor weight, bias, running_mean, running_var, num_batches_tracked;
};
TORCH_MODULE(SplitBatchNorm);

namespace detail {
/// A list of batch norms under their numbers.
struct BatchNormList : torch::nn::Cloneable<BatchNormList> {
  BatchNormList(BatchNormOptions options, int64_t count);
  void reset() override;
  std::shared_ptr<BatchNormImpl> at(int64_t j) const;
  BatchNormOptions options;
  int64_t count;
};
}  // namespace detail

}  // namespace ballast
