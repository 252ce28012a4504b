#pragma once

#include <torch/types.h>

#include <functional>

namespace ballast::detail {

/// While one lives, batch norms that run in evaluation mode in this thread normalize by the batch's statistics, change
/// nothing, and hand them on: their running mean (which tells them apart), the number of values per channel, mean and
/// biased variance in float64.
class MomentObserver {
 public:
  using Callback = std::function<void(const torch::Tensor& running_mean, const torch::Tensor& running_var, int64_t count,
                                      const torch::Tensor& mean, const torch::Tensor& var)>;
  explicit MomentObserver(Callback callback);
  ~MomentObserver();
  MomentObserver(const MomentObserver&) = delete;
  MomentObserver& operator=(const MomentObserver&) = delete;

  /// That of this thread, or nullptr.
  static const Callback* current();

 private:
  Callback callback_;
  const Callback* previous_;
};

/// While one lives, each Norm that begins to work in this thread hands on itself and its input, and then, when it has
/// ended, a null input.
class NormCallObserver {
 public:
  using Callback = std::function<void(const void* norm, const torch::Tensor* x)>;
  explicit NormCallObserver(Callback callback);
  ~NormCallObserver();
  NormCallObserver(const NormCallObserver&) = delete;
  NormCallObserver& operator=(const NormCallObserver&) = delete;

 private:
  Callback callback_;
  const Callback* previous_;
};

/// Held by a Norm while it works.
class NormCall {
 public:
  NormCall(const void* norm, const torch::Tensor& x);
  ~NormCall();
  NormCall(const NormCall&) = delete;
  NormCall& operator=(const NormCall&) = delete;

 private:
  const void* norm_;
};

}  // namespace ballast::detail
