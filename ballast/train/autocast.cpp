#include <ballast/train/autocast.h>

#include <fstream>
#include <string>

#include <ATen/autocast_mode.h>
#include <torch/version.h>

namespace ballast {

Bf16Autocast::Bf16Autocast(torch::DeviceType device) : device_(device) {
  set(true);
  at::autocast::increment_nesting();
}

Bf16Autocast::~Bf16Autocast() {
  if (at::autocast::decrement_nesting() == 0) {
    at::autocast::clear_cache();
  }
  set(false);
}

void Bf16Autocast::set(bool on) const {
#if TORCH_VERSION_MAJOR >= 2
  at::autocast::set_autocast_enabled(device_, on);
  at::autocast::set_autocast_dtype(device_, at::kBFloat16);
#else
  if (device_ == torch::kCPU) {
    at::autocast::set_cpu_enabled(on);
    at::autocast::set_autocast_cpu_dtype(at::kBFloat16);
  } else {
    at::autocast::set_enabled(on);
    at::autocast::set_autocast_gpu_dtype(at::kBFloat16);
  }
#endif
}

bool cpu_has_bf16() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("flags")) {
      return (line + " ").find(" avx512_bf16 ") != std::string::npos || line.find(" amx_bf16") != std::string::npos;
    }
  }
  return false;
}

}  // namespace ballast
