#include <ballast/ops/activation.h>

#include <torch/autograd.h>

#include <vector>

#include <ballast/base/check.h>
#include <ballast/ops/pieces.h>
#include <ballast/ops/shown.h>

namespace ballast::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;

constexpr double kSeluAlpha = 1.6732632423543772848170429916717, kSeluScale = 1.0507009873554804934193349852946;
// A piece fits into a core's cache, and is below what LibTorch starts threads for.
constexpr int64_t kPieceValues = 16384;

Tensor whole(const Tensor& x, Act act, double a) {
  switch (act) {
    case Act::elu: return at::elu(x, a);
    case Act::selu: return at::selu(x);
    case Act::gelu: return at::gelu(x);
    case Act::gelu_tanh: return at::gelu(x, "tanh");
    case Act::silu: return at::silu(x);
    case Act::mish: return at::mish(x);
    case Act::sigmoid: return at::sigmoid(x);
    case Act::softplus: return at::softplus(x);
    default: break;
  }
  fail<std::logic_error>("activation", "act must be one that LibTorch computes in vectors and one by one, got ", act_name(act));
}

void forward_piece(Tensor& y, const Tensor& x, Act act, double a) {
  switch (act) {
    case Act::elu: at::elu_out(y, x, a); return;
    case Act::selu: at::elu_out(y, x, kSeluAlpha, kSeluScale); return;
    case Act::gelu: at::gelu_out(y, x); return;
    case Act::gelu_tanh: at::gelu_out(y, x, "tanh"); return;
    case Act::silu: at::silu_out(y, x); return;
    case Act::mish: at::mish_out(y, x); return;
    case Act::sigmoid: at::sigmoid_out(y, x); return;
    default: at::softplus_out(y, x); return;
  }
}

// From x, or of sigmoid from y.
Tensor slope(const Tensor& grad, const Tensor& x, Act act, double a) {
  switch (act) {
    case Act::elu: return at::elu_backward(grad, a, 1, 1, /*is_result=*/false, x);
    case Act::selu: return at::elu_backward(grad, kSeluAlpha, kSeluScale, 1, false, x);
    case Act::gelu: return at::gelu_backward(grad, x);
    case Act::gelu_tanh: return at::gelu_backward(grad, x, "tanh");
    case Act::silu: return at::silu_backward(grad, x);
    case Act::mish: return at::mish_backward(grad, x);
    case Act::sigmoid: return at::sigmoid_backward(grad, x);
    default: return at::softplus_backward(grad, x, 1, 20);
  }
}

// The same by operators that have a gradient.
Tensor slope_with_gradient(const Tensor& grad, const Tensor& x, Act act, double a) {
  if (act != Act::silu && act != Act::mish) return slope(grad, x, act, a);
  const Tensor s = at::sigmoid(x);
  if (act == Act::silu) return grad * (s * (1 + x * (1 - s)));
  const Tensor t = at::tanh(at::softplus(x));
  return grad * (t + x * s * (1 - t * t));
}

// f(begin, length) for the pieces of n values.
template <class F>
void for_values(int64_t n, const F& f) {
  for_pieces((n + kPieceValues - 1) / kPieceValues, [&](int64_t i) {
    const at::AutoDispatchBelowADInplaceOrView below;
    f(i * kPieceValues, std::min(kPieceValues, n - i * kPieceValues));
  });
}

// t as it lies in memory, with the strides of `like`.
Tensor flat(const Tensor& t, const Tensor& like) {
  if (t.strides() == like.strides()) return t.as_strided({t.numel()}, {1});
  return at::empty_like(like, like.options().requires_grad(false)).copy_(t).as_strided({t.numel()}, {1});
}

Tensor in_pieces(const Tensor& x, Act act, double a) {
  Tensor y = at::empty_like(x, x.options().requires_grad(false));
  const Tensor from = flat(x, y), to = flat(y, y);
  for_values(x.numel(), [&](int64_t begin, int64_t length) {
    Tensor part = to.narrow(0, begin, length);
    forward_piece(part, from.narrow(0, begin, length), act, a);
  });
  return y;
}

struct Activation : torch::autograd::Function<Activation> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, int64_t act, double a) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const Tensor y = in_pieces(x, static_cast<Act>(act), a);
    ctx->save_for_backward({static_cast<Act>(act) == Act::sigmoid ? y : x});
    ctx->saved_data["act"] = act;
    ctx->saved_data["a"] = a;
    return y;
  }
  static torch::autograd::tensor_list backward(AutogradContext* ctx, const torch::autograd::tensor_list& gradients) {
    const Tensor saved = ctx->get_saved_variables()[0], &grad = gradients[0];
    const Act act = static_cast<Act>(ctx->saved_data["act"].toInt());
    const double a = ctx->saved_data["a"].toDouble();
    if (at::GradMode::is_enabled()) return {slope_with_gradient(grad, saved, act, a), Tensor(), Tensor()};
    const Tensor result = at::empty_like(saved, saved.options().requires_grad(false));
    const Tensor from = flat(saved, result), g = flat(grad, result), to = flat(result, result);
    for_values(result.numel(), [&](int64_t begin, int64_t length) {
      to.narrow(0, begin, length).copy_(slope(g.narrow(0, begin, length), from.narrow(0, begin, length), act, a));
    });
    return {result, Tensor(), Tensor()};
  }
};

const char* name_of(Act act) {
  switch (act) {
    case Act::elu: return "aten::elu";
    case Act::selu: return "aten::selu";
    case Act::gelu:
    case Act::gelu_tanh: return "aten::gelu";
    case Act::silu: return "aten::silu";
    case Act::mish: return "aten::mish";
    case Act::sigmoid: return "aten::sigmoid";
    default: return "aten::softplus";
  }
}

std::vector<c10::IValue> arguments_of(const Tensor& x, Act act, double a) {
  switch (act) {
    case Act::elu: return {x, a, 1.0, 1.0};
    case Act::gelu: return {x, "none"};
    case Act::gelu_tanh: return {x, "tanh"};
    case Act::softplus: return {x, 1.0, 20.0};
    default: return {x};
  }
}

}  // namespace

Tensor activation(const Tensor& x, Act act, double a) {
  if (!x.is_cpu() || !x.is_floating_point() || x.numel() == 0) return whole(x, act, a);
  return shown(
      name_of(act), [&] { return arguments_of(x, act, a); },
      [&]() -> Tensor {
        return at::GradMode::is_enabled() && x.requires_grad() ? Activation::apply(x, static_cast<int64_t>(act), a) : in_pieces(x, act, a);
      });
}

}  // namespace ballast::ops
