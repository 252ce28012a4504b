#include <ballast/init/identity.h>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>

namespace ballast {

torch::Tensor eye_(torch::Tensor t) {
  check(t.dim() == 2, "identity", "t must have 2 dimensions, got ", shape_text(t.sizes()));
  torch::NoGradGuard no_grad;
  t.zero_();
  t.diagonal().fill_(1);
  return t;
}

}  // namespace ballast
