#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <torch/types.h>

#include <ballast/augment/pipeline.h>

namespace ballast {

/// One view of a picture, of a batch that the network has the size of.
struct TtaView {
  enum class Kind : uint8_t { identity, hflip, vflip, shift } kind = Kind::identity;
  int64_t dy = 0, dx = 0;  ///< of shift: content moves down and right
  size_t picture = 0;      ///< number in TtaPlan::pictures
};

/// Test-time augmentation: what is shown in place of one picture. Predictions are averaged.
struct TtaPlan {
  std::vector<Pipeline> pictures;
  std::vector<TtaView> views;

  /// One view, the picture as it is.
  bool plain() const { return views.size() == 1 && views[0].kind == TtaView::Kind::identity; }
  /// Those of one picture.
  std::vector<TtaView> views_of(size_t picture) const;
};

/// Names of views: identity, hflip, vflip, shift:N (four, by N pixels, the border repeated), five_crop, ten_crop (the
/// corners and the middle of the evaluation pipeline's picture before its center_crop; ten: also mirrored). None:
/// identity. Views that an evaluation pipeline makes by itself are views each.
///
/// Errors   std::invalid_argument: another name; five_crop and ten_crop where the pipeline has no center_crop.
TtaPlan plan_tta(const std::vector<std::string>& names, const Pipeline& eval);

/// x: (N, C, H, W) -> the same shape.
torch::Tensor seen(const TtaView& view, const torch::Tensor& x);

/// The mean of the probabilities of several views.
class TtaMean {
 public:
  /// sigmoids: of a model of several labels a picture, each class has a probability of its own.
  explicit TtaMean(bool sigmoids = false) : sigmoids_(sigmoids) {}
  /// logits: (N, K).
  void add(const torch::Tensor& logits);
  /// (N, K) float32, on the CPU: log of the mean, at least -100; with sigmoids its logit, in [-100, 100].
  torch::Tensor scores() const;

 private:
  bool sigmoids_ = false;
  torch::Tensor sum_;
  double count_ = 0;
};

}  // namespace ballast
