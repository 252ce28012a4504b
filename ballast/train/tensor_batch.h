#pragma once

#include <torch/types.h>

#include <ballast/augment/batch_slot.h>
#include <ballast/data/source.h>

namespace ballast {

/// The pixels of a batch as a tensor (n, c, h, w), float32, without a copy: channels_last if the slot's layout is hwc.
/// Valid until the slot is used for the next batch.
torch::Tensor batch_pixels(const BatchSlot& slot);

/// The classes of a batch, (n) int64; of several labels a picture the numbers of their sets. A copy.
torch::Tensor batch_labels(const BatchSlot& slot);

/// Rows with weight 0 are left out (unreadable pictures that have no substitute); without such rows the tensors are those
/// of batch_pixels and batch_labels.
///
/// Of a mixed batch (mixup, cutmix) row i is lam[i] of class y[i] and 1 - lam[i] of class partner[i]; otherwise both are
/// undefined.
struct TensorBatch {
  torch::Tensor x, y;
  torch::Tensor partner, lam;
};
TensorBatch tensor_batch(const BatchSlot& slot);

/// (sets, classes) float32: 1 where the set has the class, else 0.
torch::Tensor label_matrix(const LabelSets& sets, int64_t classes);

}  // namespace ballast
