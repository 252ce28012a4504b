#pragma once

#include <memory>

#include <ballast/norm/batch_norm.h>

namespace ballast {

/// What sync_batch_norm asks of a group of processes.
struct Gather {
  virtual ~Gather() = default;
  virtual int rank() const = 0;
  virtual int world() const = 0;
  /// The tensors of all ranks, each of t's shape and dtype, as one of shape (world, ...), in the order of the ranks. Every
  /// rank must call it equally often. Errors: std::runtime_error where a rank does not answer, as
  /// `[sync_batch_norm] all ranks must answer within 20 s, got none from rank 1`.
  virtual torch::Tensor all_gather(const torch::Tensor& t) = 0;
};

/// Batch normalization over the batches of all ranks. Each rank sends (count, mean, M2) of each channel in double; they are
/// merged by Chan's formula in the order of the ranks, so all ranks have the same bits.
///
///   y = act(gamma (x - mean) / sqrt(var + eps) + beta),   mean and biased var over the rows of all ranks
///
/// Shape    x: (N, C, ...), N may differ and be 0 on some ranks. Result: the same shape, dtype and memory format.
/// Gradient dx with the sums of all ranks (a second exchange); dgamma and dbeta stay local, for the optimizer's all-reduce.
///          Not differentiable twice.
/// Result   var and mean: float64, of all ranks, with the number of values in `count`.
/// Eval     batch_norm; nothing is exchanged. So is a world of 1.
/// Source   Peng et al. 2017, arXiv:1711.07240; Chan et al. 1979.
/// Not      ghost batch norm, which makes batches smaller.
/// Errors   those of batch_norm, for the rows of all ranks; those of the gather.
struct SyncBatchNormResult {
  torch::Tensor y, mean, var;
  int64_t count = 0;
};
SyncBatchNormResult sync_batch_norm(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                    Gather& gather, const BatchNormOptions& options);

/// A module's forward with running statistics as batch_norm_tracked. gather nullptr: batch_norm_tracked itself.
torch::Tensor sync_batch_norm_tracked(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                      const RunningStats& running, bool training, Gather* gather,
                                      const BatchNormOptions& options);

/// Names: BatchNorm's.
class SyncBatchNormImpl : public torch::nn::Cloneable<SyncBatchNormImpl>, public HasLayerRole {
 public:
  explicit SyncBatchNormImpl(BatchNormOptions options, std::shared_ptr<Gather> gather = nullptr);

  torch::Tensor forward(const torch::Tensor& x);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  LayerRole layer_role() const override { return LayerRole::norm; }

  BatchNormOptions options;
  /// Of the process group; a clone shares it.
  std::shared_ptr<Gather> gather;
  torch::Tensor weight, bias, running_mean, running_var, num_batches_tracked;
};
TORCH_MODULE(SyncBatchNorm);

}  // namespace ballast
