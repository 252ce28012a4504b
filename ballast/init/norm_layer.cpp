#include <ballast/init/norm_layer.h>

#include <torch/nn/functional/instancenorm.h>  // LibTorch 1.13: modules/instancenorm.h needs it
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/instancenorm.h>
#include <torch/nn/modules/normalization.h>

#include <ballast/base/layer_role.h>

namespace ballast::detail {
namespace {

template <class... T>
bool is_any(const torch::nn::Module& module) {
  return ((dynamic_cast<const T*>(&module) != nullptr) || ...);
}

}  // namespace

bool is_norm_layer(const torch::nn::Module& module) {
  if (const auto* own = dynamic_cast<const HasLayerRole*>(&module)) {
    return own->layer_role() == LayerRole::norm &&
           !(module.parameters(/*recurse=*/false).empty() && module.buffers(/*recurse=*/false).empty());
  }
  using namespace torch::nn;
  return is_any<BatchNorm1dImpl, BatchNorm2dImpl, BatchNorm3dImpl, InstanceNorm1dImpl, InstanceNorm2dImpl, InstanceNorm3dImpl,
                GroupNormImpl, LayerNormImpl, LocalResponseNormImpl, CrossMapLRN2dImpl>(module);
}

}  // namespace ballast::detail
