#include <ballast/ops/softmax.h>

#include <torch/autograd.h>

#include <ballast/ops/pieces.h>

namespace ballast::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;

struct Softmax : torch::autograd::Function<Softmax> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const Tensor y = at::softmax(x, -1);
    ctx->save_for_backward({y});
    return y;
  }
  static torch::autograd::tensor_list backward(AutogradContext* ctx, const torch::autograd::tensor_list& gradients) {
    const Tensor y = ctx->get_saved_variables()[0], &grad = gradients[0];
    const auto slope = [](const Tensor& g, const Tensor& p) { return at::_softmax_backward_data(g, p, -1, p.scalar_type()); };
    // A gradient that is itself differentiated is LibTorch's.
    if (at::GradMode::is_enabled()) return {slope(grad, y)};
    const Tensor result = at::empty_like(y);
    const int64_t n = y.size(0), rows = rows_of_piece(n);
    for_pieces((n + rows - 1) / rows, [&](int64_t i) {
      const at::AutoDispatchBelowADInplaceOrView below;
      const int64_t begin = i * rows, length = std::min(rows, n - begin);
      result.narrow(0, begin, length).copy_(slope(grad.narrow(0, begin, length), y.narrow(0, begin, length)));
    });
    return {result};
  }
};

}  // namespace

Tensor softmax(const Tensor& x) {
  const bool graph = at::GradMode::is_enabled() && x.requires_grad();
  return x.is_cpu() && x.dim() > 1 && graph ? Softmax::apply(x) : at::softmax(x, -1);
}

}  // namespace ballast::ops
