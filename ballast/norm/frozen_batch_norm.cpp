#include <ballast/norm/frozen_batch_norm.h>

#include <ostream>

#include <ballast/base/check.h>
#include <ballast/norm/batch_norm.h>

namespace ballast {

torch::Tensor frozen_batch_norm(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                const torch::Tensor& running_mean, const torch::Tensor& running_var,
                                const FrozenBatchNormOptions& options) {
  const BatchNormOptions plain{.num_features = options.num_features,
                               .eps = options.eps,
                               .act = options.act,
                               .act_a = options.act_a};
  return batch_norm(x, weight.detach(), bias.detach(), running_mean, running_var, /*training=*/false, plain).y;
}

FrozenBatchNormImpl::FrozenBatchNormImpl(FrozenBatchNormOptions given) : options(given) {
  check(options.num_features >= 1, "frozen_batch_norm", "num_features must be >= 1, got ", options.num_features);
  check(options.eps > 0, "frozen_batch_norm", "eps must be > 0, got ", options.eps);
  reset();
}

void FrozenBatchNormImpl::reset() {
  weight = register_buffer("weight", torch::ones({options.num_features}));
  bias = register_buffer("bias", torch::zeros({options.num_features}));
  running_mean = register_buffer("running_mean", torch::zeros({options.num_features}));
  running_var = register_buffer("running_var", torch::ones({options.num_features}));
}

torch::Tensor FrozenBatchNormImpl::forward(const torch::Tensor& x) {
  return frozen_batch_norm(x, weight, bias, running_mean, running_var, options);
}

void FrozenBatchNormImpl::pretty_print(std::ostream& stream) const {
  stream << "ballast::FrozenBatchNorm(" << options.num_features;
  if (options.act != Act::none) stream << ", " << act_name(options.act);
  stream << ')';
}

}  // namespace ballast
