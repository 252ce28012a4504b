#include <ballast/ops/linear.h>

#include <torch/autograd.h>

#include <vector>

#include <ballast/ops/autocast.h>
#include <ballast/ops/pieces.h>
#include <ballast/ops/shown.h>

namespace ballast::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;

// Rows of a product below these are too few for what each piece reads again, the other matrix.
constexpr int64_t kLeastRows = 32;

// a b (+ bias), in pieces of a's rows.
Tensor product(const Tensor& a, const Tensor& b, const Tensor& bias) {
  const int64_t n = a.size(0), rows = std::max(kLeastRows, (n + kPieces - 1) / kPieces);
  Tensor y = at::empty({n, b.size(1)}, a.options().requires_grad(false));
  for_pieces((n + rows - 1) / rows, [&](int64_t i) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const int64_t begin = i * rows, length = std::min(rows, n - begin);
    Tensor out = y.narrow(0, begin, length);
    const Tensor part = a.narrow(0, begin, length);
    if (bias.defined()) {
      at::addmm_out(out, bias, part, b);
    } else {
      at::mm_out(out, part, b);
    }
  });
  return y;
}

struct LinearFunction : torch::autograd::Function<LinearFunction> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight, const torch::optional<Tensor>& bias) {
    const at::AutoDispatchBelowADInplaceOrView below;
    ctx->save_for_backward({x, weight});
    ctx->saved_data["bias"] = bias.has_value();
    return product(x, weight.t(), bias.value_or(Tensor()));
  }
  static torch::autograd::tensor_list backward(AutogradContext* ctx, const torch::autograd::tensor_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &grad = gradients[0];
    // A gradient that is itself differentiated is LibTorch's.
    const bool plain = at::GradMode::is_enabled();
    const auto multiply = [&](const Tensor& a, const Tensor& b) { return plain ? at::mm(a, b) : product(a, b, {}); };
    Tensor gx, gw, gb;
    if (ctx->needs_input_grad(0)) gx = multiply(grad, weight);
    if (ctx->needs_input_grad(1)) gw = multiply(grad.t(), x);
    if (ctx->saved_data["bias"].toBool() && ctx->needs_input_grad(2)) gb = grad.sum(0);
    return {gx, gw, gb};
  }
};

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (!x.is_cpu() || x.dim() < 2 || x.numel() == 0 || weight.dim() != 2 || x.size(-1) != weight.size(1)) {
    return at::linear(x, weight, bias);
  }
  return shown(
      "aten::linear", [&] { return std::vector<c10::IValue>{x, weight, bias}; },
      [&]() -> Tensor {
        Tensor xc = autocast_cpu(x);
        const Tensor wc = autocast_cpu(weight), bc = autocast_cpu(bias);
        const WithoutAutocast plain;
        std::vector<int64_t> size = x.sizes().vec();
        size.back() = weight.size(0);
        if (x.dim() > 2) xc = xc.reshape({-1, x.size(-1)});
        const bool graph =
            at::GradMode::is_enabled() && (xc.requires_grad() || wc.requires_grad() || (bc.defined() && bc.requires_grad()));
        const Tensor y = graph ? LinearFunction::apply(xc, wc, bc.defined() ? torch::optional<Tensor>(bc) : torch::nullopt) : product(xc, wc.t(), bc);
        return x.dim() > 2 ? at::_unsafe_view(y, size) : y;  // no view: it may be overwritten at no cost
      });
}

}  // namespace ballast::ops
