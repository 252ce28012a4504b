#pragma once

#include <cstdint>

#include <ballast/base/key.h>

namespace ballast {

/// Says which step of a run is being computed, for layers that draw masks: held around a forward
/// pass, in the thread that runs it.
///
///   StepScope scope(seed, attempt, step, first_row);
///   model->forward(x);
///
/// Key      Key(seed); with attempt a > 0: .fold_in("attempt").fold_in(a). A layer adds "drop", its
/// stem, its dotted
///          name, step and the number of its forward call within the scope.
/// Equal    opening a scope again with the same values redraws the same masks (activation
/// checkpointing). Nesting  the innermost scope counts; the outer one is back when it ends. Threads
/// thread-local.
class StepScope {
 public:
  StepScope(uint64_t seed, uint64_t attempt, uint64_t step, int64_t first_row = 0);
  /// With a key of the caller's in place of that of a seed and an attempt (Monte-Carlo passes).
  StepScope(Key key, uint64_t step, int64_t first_row = 0);
  ~StepScope();
  StepScope(const StepScope&) = delete;
  StepScope& operator=(const StepScope&) = delete;

  /// The innermost scope of this thread, or null.
  static const StepScope* current();

  Key key() const { return key_; }
  uint64_t step() const { return step_; }
  /// Place of row 0 of the batch in the step's global batch (gradient accumulation, ranks).
  int64_t first_row() const { return first_row_; }
  /// Differs for every scope that was ever opened, so that a layer can count its calls within one.
  uint64_t serial() const { return serial_; }

 private:
  Key key_;
  uint64_t step_;
  int64_t first_row_;
  uint64_t serial_;
  const StepScope* outer_;
};

}  // namespace ballast
