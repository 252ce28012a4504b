#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

namespace ballast {

/// Options of ScalarGate.
struct ScalarGateOptions {
  /// alpha at the start: 0 makes the block the identity.
  double init = 0;
};

/// One learned number on a residual branch: y = alpha x, parameter `alpha` of shape (1).
///
/// Shape    any; eval as training. Takes no weight decay (one dimension).
/// Source   SkipInit: De and Smith 2020, arXiv:2002.10444; ReZero: Bachlechner et al. 2020, arXiv:2003.04887.
/// Not      LayerScale, which learns a number per channel.
class ScalarGateImpl : public torch::nn::Cloneable<ScalarGateImpl> {
 public:
  explicit ScalarGateImpl(ScalarGateOptions options = {});
  torch::Tensor forward(const torch::Tensor& x) const { return x * alpha; }
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  ScalarGateOptions options;
  torch::Tensor alpha;
};
TORCH_MODULE(ScalarGate);

}  // namespace ballast
