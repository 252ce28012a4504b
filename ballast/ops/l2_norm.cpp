#include <ballast/ops/l2_norm.h>

#include <ballast/ops/pieces.h>

namespace ballast::ops {

double l2_norm(const torch::Tensor& t) {
  return on_one_thread([&] { return at::norm(t.detach(), 2, torch::kDouble).item<double>(); });
}

}  // namespace ballast::ops
