#include <ballast/train/libtorch.h>
#include <torch/version.h>

namespace ballast {

std::string libtorch_version() { return TORCH_VERSION; }

}  // namespace ballast
