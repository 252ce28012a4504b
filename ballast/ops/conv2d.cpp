#include <ballast/ops/conv2d.h>

#include <torch/autograd.h>

#include <vector>

#include <ballast/ops/autocast.h>
#include <ballast/ops/pieces.h>
#include <ballast/ops/shown.h>

namespace ballast::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;

struct Geometry {
  std::array<int64_t, 2> stride, padding, dilation;
  int64_t groups;
};

// Below 16 rows LibTorch leaves a 1x1 convolution to its own loop where it has one thread, to oneDNN where it has more. One that
// is dilated, which to a 1x1 kernel is nothing, is always oneDNN's.
Geometry settled(const Tensor& weight, int64_t rows, Geometry g) {
  if (rows < 16 && weight.size(2) == 1 && weight.size(3) == 1 && weight.scalar_type() == torch::kFloat) g.dilation = {2, 2};
  return g;
}

std::tuple<Tensor, Tensor, Tensor> backward_of(const Tensor& grad, const Tensor& x, const Tensor& weight, const std::vector<int64_t>& bias,
                                               const Geometry& given, std::array<bool, 3> wanted) {
  const Geometry g = settled(weight, x.size(0), given);
  return at::convolution_backward(grad, x, weight, at::OptionalIntArrayRef(at::IntArrayRef(bias)), g.stride, g.padding, g.dilation,
                                  /*transposed=*/false, {0, 0}, g.groups, wanted);
}

// f() as LibTorch runs it, but for a single small picture: that is left to BLAS, whose sums may depend on the threads.
template <class F>
auto run_whole(const Tensor& x, const F& f) {
  return x.size(0) == 1 && x.numel() <= 20480 ? on_one_thread(f) : f();
}

// The sum of all in order, in float at least.
Tensor sum_in_order(std::vector<Tensor>& pieces) {
  if (pieces.size() == 1 || !pieces[0].defined()) return pieces[0];
  const auto type = pieces[0].scalar_type();
  Tensor sum = type == torch::kBFloat16 || type == torch::kHalf ? pieces[0].to(torch::kFloat) : pieces[0];
  for (size_t i = 1; i < pieces.size(); ++i) sum.add_(pieces[i]);
  return sum.to(type);
}

// Pieces of about `rows` of n: none of a single row, which LibTorch may leave to its own loop and so to BLAS.
int64_t pieces_of(int64_t n, int64_t rows) { return std::max<int64_t>(1, n / std::max<int64_t>(2, rows)); }

template <class F>
void for_rows(int64_t n, int64_t rows, const F& f) {
  const int64_t pieces = pieces_of(n, rows);
  for_pieces(pieces, [&](int64_t i) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const int64_t begin = n * i / pieces;
    f(i, begin, n * (i + 1) / pieces - begin);
  });
}

// Rows of a piece. Each piece costs a pass over all weights, which is little beside its own work unless they are more than what it
// reads of x and grad: then it has more rows, down to one piece for all.
int64_t weight_rows(const Tensor& grad, const Tensor& x, const Tensor& weight) {
  constexpr int64_t kLeastPositions = 16 * 49;
  const int64_t rows = rows_of_piece(x.size(0));
  if (weight.numel() <= rows * (x[0].numel() + grad[0].numel())) return rows;
  const int64_t positions = std::max<int64_t>(1, grad.size(2) * grad.size(3));
  return std::max(kPieceRows, (kLeastPositions + positions - 1) / positions);
}

struct Gradients {
  Tensor x, weight, bias;
};

Gradients in_pieces(const Tensor& grad, const Tensor& x, const Tensor& weight, const Geometry& g, int64_t rows, std::array<bool, 3> wanted) {
  const int64_t n = x.size(0);
  const std::vector<int64_t> bias_size = {weight.size(0)};
  const auto pieces = static_cast<size_t>(pieces_of(n, rows));
  std::vector<Tensor> weights(pieces), biases(pieces);
  Gradients all;
  if (wanted[0]) all.x = at::empty_like(x, x.options().requires_grad(false));
  for_rows(n, rows, [&](int64_t i, int64_t begin, int64_t length) {
    auto [gx, gw, gb] = backward_of(grad.narrow(0, begin, length), x.narrow(0, begin, length), weight, bias_size, g, wanted);
    if (wanted[0]) all.x.narrow(0, begin, length).copy_(gx);
    weights[static_cast<size_t>(i)] = gw;
    biases[static_cast<size_t>(i)] = gb;
  });
  if (wanted[1]) all.weight = sum_in_order(weights);
  if (wanted[2]) all.bias = sum_in_order(biases);
  return all;
}

struct Convolution : torch::autograd::Function<Convolution> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight, const torch::optional<Tensor>& bias, const Geometry& g) {
    const at::AutoDispatchBelowADInplaceOrView below;
    ctx->save_for_backward({x, weight});
    ctx->saved_data["bias"] = bias.has_value();
    ctx->saved_data["geometry"] =
        std::vector<int64_t>{g.stride[0], g.stride[1], g.padding[0], g.padding[1], g.dilation[0], g.dilation[1], g.groups};
    return run_whole(x, [&] { return at::conv2d(x, weight, bias, g.stride, g.padding, g.dilation, g.groups); });
  }
  static torch::autograd::tensor_list backward(AutogradContext* ctx, const torch::autograd::tensor_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &grad = gradients[0];
    const std::vector<int64_t> v = ctx->saved_data["geometry"].toIntVector();
    const Geometry g{{v[0], v[1]}, {v[2], v[3]}, {v[4], v[5]}, v[6]};
    const bool of_x = ctx->needs_input_grad(0), of_weight = ctx->needs_input_grad(1), of_bias = ctx->saved_data["bias"].toBool() && ctx->needs_input_grad(2);
    const std::vector<int64_t> bias_size = {weight.size(0)};
    // A gradient that is itself differentiated is LibTorch's.
    if (at::GradMode::is_enabled() || x.size(0) == 0) {
      auto [gx, gw, gb] = backward_of(grad, x, weight, bias_size, g, {of_x, of_weight, of_bias});
      return {gx, gw, gb, Tensor()};
    }
    // One call for all three where their pieces are the same ones.
    const int64_t rows = rows_of_piece(x.size(0)), for_weight = weight_rows(grad, x, weight);
    const bool together = rows == for_weight || !(of_weight || of_bias);
    Gradients all = in_pieces(grad, x, weight, g, together ? rows : for_weight, {of_x && together, of_weight, of_bias});
    if (of_x && !together) all.x = in_pieces(grad, x, weight, g, rows, {true, false, false}).x;
    return {all.x, all.weight, all.bias, Tensor()};
  }
};

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, std::array<int64_t, 2> stride, std::array<int64_t, 2> padding,
              std::array<int64_t, 2> dilation, int64_t groups) {
  if (!x.is_cpu() || x.dim() != 4) return at::conv2d(x, weight, bias, stride, padding, dilation, groups);
  return shown(
      "aten::conv2d",
      [&] {
        return std::vector<c10::IValue>{x, weight, bias, std::vector<int64_t>{stride[0], stride[1]},
                                        std::vector<int64_t>{padding[0], padding[1]}, std::vector<int64_t>{dilation[0], dilation[1]}, groups};
      },
      [&]() -> Tensor {
        const Tensor xc = autocast_cpu(x), wc = autocast_cpu(weight), bc = autocast_cpu(bias);
        const Geometry g = settled(wc, x.size(0), {stride, padding, dilation, groups});
        const WithoutAutocast plain;
        if (at::GradMode::is_enabled() && (xc.requires_grad() || wc.requires_grad() || (bc.defined() && bc.requires_grad()))) {
          return Convolution::apply(xc, wc, bc.defined() ? torch::optional<Tensor>(bc) : torch::nullopt, g);
        }
        return run_whole(xc, [&] { return at::conv2d(xc, wc, bc, g.stride, g.padding, g.dilation, g.groups); });
      });
}

}  // namespace ballast::ops
