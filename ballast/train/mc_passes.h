#pragma once

// Monte-Carlo passes of a classifier over batches: what `eval --mc` and `predict --mc` share.

#include <torch/types.h>

#include <cstdint>

#include <ballast/base/key.h>
#include <ballast/drop/mc_dropout.h>

namespace ballast {

class Model;

/// Holds a model in Monte-Carlo mode (drops active, all else in evaluation) and runs each batch a number of times.
class McPasses {
 public:
  /// Errors: std::invalid_argument `[mc_dropout] passes must be >= 1, got 0`; `[mc_dropout] model must have layers that
  /// drop, got none`.
  McPasses(Model& model, int64_t passes, Key key);

  struct Result {
    torch::Tensor logits;   ///< (N, K): the log of the mean probabilities
    McSummary summary;
  };
  /// Softmax of logits / temperature in each pass. Row 0 of x is row first_row of the data, so that the masks of a sample
  /// do not depend on the size of a batch. On the CPU, float32.
  Result operator()(const torch::Tensor& x, int64_t first_row, double temperature) const;

 private:
  Model& model_;
  int64_t passes_;
  Key key_;
  McDropout guard_;
};

}  // namespace ballast
