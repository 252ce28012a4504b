#include <ballast/norm/activate.h>

#include <ballast/ops/activation.h>

namespace ballast {

torch::Tensor activate(torch::Tensor x, Act act, double a, bool may_overwrite) {
  const bool in_place = may_overwrite;
  switch (act) {
    case Act::none: return x;
    case Act::relu: return in_place ? x.relu_() : x.relu();
    case Act::relu6: return in_place ? at::hardtanh_(x, 0, 6) : at::hardtanh(x, 0, 6);
    case Act::leaky_relu: return in_place && a >= 0 ? at::leaky_relu_(x, a) : at::leaky_relu(x, a);
    case Act::hardswish: return at::hardswish(x);
    case Act::tanh: return in_place ? x.tanh_() : x.tanh();
    case Act::softsign: return x / (1 + x.abs());
    default: return ops::activation(x, act, a);
  }
}

}  // namespace ballast
