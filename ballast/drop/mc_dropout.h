#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include <ballast/base/key.h>
#include <ballast/drop/drop_layer.h>

namespace ballast {

/// Holds a model in Monte-Carlo mode: drops active, everything else (norms) in evaluation. Modes come back at its end.
///
///   McDropout mc(model);
///   for (int64_t t = 0; t < 30; ++t) passes.push_back(mc.pass(t, key, [&] { return model.forward(x); }));
///
/// Random   pass t runs in a scope whose key is key / "mc" / t: passes differ from each other, and pass t can be drawn again.
/// Source   Gal and Ghahramani 2016, arXiv:1506.02142.
/// Cost     T passes cost T forwards.
class McDropout {
 public:
  explicit McDropout(torch::nn::Module& model);
  ~McDropout();
  McDropout(const McDropout&) = delete;
  McDropout& operator=(const McDropout&) = delete;

  /// Runs `forward` as pass t, without gradients. `key` is Key(seed); row 0 of the batch is row first_row of the data.
  torch::Tensor pass(int64_t t, Key key, const std::function<torch::Tensor()>& forward, int64_t first_row = 0) const;

  /// How many layers drop.
  int64_t layers() const { return static_cast<int64_t>(drops_.size()); }

 private:
  torch::nn::Module& model_;
  std::vector<std::pair<torch::nn::Module*, bool>> training_;
  std::vector<std::pair<DropLayer*, DropMode>> drops_;
};

/// What the passes of a classifier say together.
struct McSummary {
  torch::Tensor mean;         ///< (N, K): mean probabilities
  torch::Tensor variance;     ///< (N, K): of the probabilities over the passes (divided by T)
  torch::Tensor mutual_information;  ///< (N): H(mean) - mean H, nats: how much the passes disagree
};
/// probabilities: (T, N, K). Errors: std::invalid_argument unless it has 3 dimensions and T >= 1.
McSummary summarize_passes(const torch::Tensor& probabilities);

}  // namespace ballast
