#pragma once

#include <cstdint>

#include <ballast/augment/batch_slot.h>

namespace ballast {

/// What mixing did over batches, as it was used: cutmix's lambda is that after its box was clipped. At alpha = 1 its mean
/// is therefore 0.679 (0.690 on 32 x 32), not 0.5.
struct MixTotals {
  int64_t pictures = 0;  ///< of weight > 0
  int64_t mixed = 0;     ///< whose lambda is below 1
  double lambda = 0;     ///< sum over the mixed ones
  /// Sum of -lambda ln lambda - (1 - lambda) ln (1 - lambda) in nats; 0 where both labels are one.
  double entropy = 0;

  void add(const BatchSlot& batch);
  double mixed_share() const { return pictures > 0 ? static_cast<double>(mixed) / static_cast<double>(pictures) : 0; }
  /// Mean over the mixed pictures; 1 if there are none.
  double mean_lambda() const { return mixed > 0 ? lambda / static_cast<double>(mixed) : 1; }
  /// Mean over all pictures.
  double label_entropy() const { return pictures > 0 ? entropy / static_cast<double>(pictures) : 0; }
};

}  // namespace ballast
