#include <ballast/drop/shake_drop.h>

#include <torch/library.h>

#include <ostream>
#include <vector>

#include <ballast/base/check.h>
#include <ballast/drop/keyed_op.h>

namespace ballast {
namespace {

torch::Tensor call_shake_drop(const torch::Tensor& x, double p, bool backward, int64_t key, int64_t first_row) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("ballast::shake_drop", "")
                             .typed<torch::Tensor(const torch::Tensor&, double, bool, int64_t, int64_t)>();
  return op.call(x, p, backward, key, first_row);
}

// Rows times their factors; the factors are few.
torch::Tensor shake_rows(const torch::Tensor& x, double p, bool backward, int64_t bits, int64_t first_row) {
  const Key key = detail::to_key(bits), factor_key = key.fold_in(backward ? "beta" : "alpha");
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[0] = x.size(0);
  torch::Tensor factors = torch::empty(shape, torch::kDouble);
  for (int64_t row = 0; row < x.size(0); ++row) {
    const auto i = static_cast<uint64_t>(first_row + row);
    const double u = uniform(factor_key, i);
    factors.data_ptr<double>()[row] = !event(key, i, p) ? 1 : backward ? u : 2 * u - 1;
  }
  return x * factors.to(x.device(), x.scalar_type());
}

// The gradient is linear in dy, so its own derivative is the backward form again.
torch::Tensor shake_with_gradient(const torch::Tensor& x, double p, bool backward, int64_t key, int64_t first_row) {
  const auto run = [=](const torch::Tensor& t) { return call_shake_drop(t, p, backward, key, first_row); };
  const auto again = [=](const torch::Tensor& t) { return call_shake_drop(t, p, true, key, first_row); };
  return detail::drawn_again(x, run, again);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(ballast, m) {
  m.def("shake_drop(Tensor x, float p, bool backward, int key, int first_row=0) -> Tensor");
}
TORCH_LIBRARY_IMPL(ballast, CPU, m) { m.impl("shake_drop", shake_rows); }
TORCH_LIBRARY_IMPL(ballast, CUDA, m) { m.impl("shake_drop", shake_rows); }
TORCH_LIBRARY_IMPL(ballast, Meta, m) {
  m.impl("shake_drop", [](const torch::Tensor& x, double, bool, int64_t, int64_t) { return at::empty_like(x); });
}
TORCH_LIBRARY_IMPL(ballast, Autograd, m) { m.impl("shake_drop", shake_with_gradient); }

torch::Tensor shake_drop(const torch::Tensor& x, const ShakeDropOptions& o, bool training, Key key, int64_t first_row) {
  detail::check_rate("shake_drop", "p", o.p, false);
  detail::check_input("shake_drop", x, 1);
  if (o.p == 0) return x;
  if (!training) return x * (1 - o.p);
  return call_shake_drop(x, o.p, false, detail::to_int(key), first_row);
}

ShakeDropImpl::ShakeDropImpl(ShakeDropOptions o) : options(o) { detail::check_rate("shake_drop", "p", o.p, false); }

torch::Tensor ShakeDropImpl::forward(const torch::Tensor& x) {
  if (mode() == DropMode::never) return x;
  if (!drops(is_training()) || options.p == 0) return shake_drop(x, options, false, Key());
  const Draw draw = next_draw(options.key);
  return detail::by_rows(x, draw.first_row, draw.rows, [&](const torch::Tensor& t, int64_t first_row) {
    return shake_drop(t, options, true, draw.key, first_row);
  });
}

void ShakeDropImpl::set_drop_rate(double p) {
  detail::check_rate("shake_drop", "p", p, false);
  options.p = p;
}

void ShakeDropImpl::pretty_print(std::ostream& stream) const { stream << "ballast::ShakeDrop(" << options.p << ')'; }

}  // namespace ballast
