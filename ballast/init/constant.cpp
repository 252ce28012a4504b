#include <ballast/init/constant.h>

namespace ballast {

torch::Tensor constant_(torch::Tensor t, double v) {
  torch::NoGradGuard no_grad;
  return t.fill_(v);
}
torch::Tensor zeros_(torch::Tensor t) {
  return constant_(std::move(t), 0);
}
torch::Tensor ones_(torch::Tensor t) {
  return constant_(std::move(t), 1);
}

}  // namespace ballast
