#include <ballast/ops/autocast.h>

#include <ATen/autocast_mode.h>
#include <torch/version.h>

namespace ballast::ops {

torch::Tensor autocast_cpu(const torch::Tensor& t) {
#if TORCH_VERSION_MAJOR >= 2
  const bool on = at::autocast::is_autocast_enabled(at::kCPU);
  const auto type = [] { return at::autocast::get_autocast_dtype(at::kCPU); };
#else
  const bool on = at::autocast::is_cpu_enabled();
  const auto type = [] { return at::autocast::get_autocast_cpu_dtype(); };
#endif
  return on && t.defined() ? at::autocast::cached_cast(type(), t, at::kCPU) : t;
}

}  // namespace ballast::ops
