#include <ballast/drop/alpha_dropout.h>

#include <ATen/Parallel.h>
#include <torch/library.h>

#include <cmath>
#include <ostream>

#include <ballast/drop/keyed_op.h>

namespace ballast {
namespace {

constexpr double kLimit = -1.7580993408473766;  // of SELU towards minus infinity: -lambda alpha

torch::Tensor call_alpha_dropout(const torch::Tensor& x, double p, bool channelwise, int64_t key, int64_t first_row) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("ballast::alpha_dropout", "")
                             .typed<torch::Tensor(const torch::Tensor&, double, bool, int64_t, int64_t)>();
  return op.call(x, p, channelwise, key, first_row);
}

DropRate rate_of(double p, bool channelwise) { return channelwise ? event_rate(p) : element_rate(p); }
double factor(double p) { return p == 1 ? 0 : 1 / std::sqrt((1 - p) * (1 + p * kLimit * kLimit)); }

torch::Tensor alpha_dropout_on_cpu(const torch::Tensor& x, double p, bool channelwise, int64_t key, int64_t first_row) {
  const DropRate rate = rate_of(p, channelwise);
  const double a = factor(rate.p()), b = -a * rate.p() * kLimit;
  const KeepValues values{.scale = a, .shift = b, .fill = a * kLimit + b};
  const Key k = detail::to_key(key);
  if (channelwise) return detail::drop_groups(x, true, false, rate, values, k, first_row);
  const detail::Walk w = detail::walk(x);
  const uint64_t first = detail::first_element(x, first_row);
  const auto size = static_cast<size_t>(w.row_size());
  detail::apply_rows(
      w, [&](int64_t row, uint16_t* words, Ahead ahead) { return draw_keep(k, first + static_cast<uint64_t>(row) * size, size, rate, words, ahead); },
      [&](int64_t, const uint16_t*, size_t) { return values; });
  return w.result(x);
}

torch::Tensor alpha_dropout_elsewhere(const torch::Tensor& x, double p, bool channelwise, int64_t key, int64_t first_row) {
  return call_alpha_dropout(x.cpu(), p, channelwise, key, first_row).to(x.device());
}

torch::Tensor alpha_dropout_with_gradient(const torch::Tensor& x, double p, bool channelwise, int64_t key, int64_t first_row) {
  // dx = a m dy: the mask of the ordinary form.
  static const auto elements = c10::Dispatcher::singleton()
                                   .findSchemaOrThrow("ballast::dropout", "")
                                   .typed<torch::Tensor(const torch::Tensor&, double, double, int64_t, int64_t)>();
  static const auto channels = c10::Dispatcher::singleton()
                                   .findSchemaOrThrow("ballast::spatial_dropout", "")
                                   .typed<torch::Tensor(const torch::Tensor&, double, double, int64_t, int64_t)>();
  const double a = factor(rate_of(p, channelwise).p());
  return detail::drawn_again(
      x, [=](const torch::Tensor& t) { return call_alpha_dropout(t, p, channelwise, key, first_row); },
      [=](const torch::Tensor& g) { return (channelwise ? channels : elements).call(g, p, a, key, first_row); });
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(ballast, m) {
  m.def("alpha_dropout(Tensor x, float p, bool channelwise, int key, int first_row=0) -> Tensor");
}
TORCH_LIBRARY_IMPL(ballast, CPU, m) { m.impl("alpha_dropout", alpha_dropout_on_cpu); }
TORCH_LIBRARY_IMPL(ballast, CUDA, m) { m.impl("alpha_dropout", alpha_dropout_elsewhere); }
TORCH_LIBRARY_IMPL(ballast, Meta, m) {
  m.impl("alpha_dropout", [](const torch::Tensor& x, double, bool, int64_t, int64_t) { return at::empty_like(x); });
}
TORCH_LIBRARY_IMPL(ballast, Autograd, m) { m.impl("alpha_dropout", alpha_dropout_with_gradient); }

torch::Tensor alpha_dropout(const torch::Tensor& x, const AlphaDropoutOptions& o, bool training, Key key,
                            int64_t first_row) {
  detail::check_rate("alpha_dropout", "p", o.p, false);
  detail::check_input("alpha_dropout", x, o.channelwise ? 2 : 1);
  if (!training || rate_of(o.p, o.channelwise).none()) return x;
  return call_alpha_dropout(x, o.p, o.channelwise, detail::to_int(key), first_row);
}

AlphaDropoutImpl::AlphaDropoutImpl(AlphaDropoutOptions o) : options(o) {
  detail::check_rate("alpha_dropout", "p", o.p, false);
}

torch::Tensor AlphaDropoutImpl::forward(const torch::Tensor& x) {
  if (!drops(is_training()) || options.p == 0) return x;
  const Draw draw = next_draw(options.key);
  return detail::by_rows(x, draw.first_row, draw.rows, [&](const torch::Tensor& t, int64_t first_row) {
    return alpha_dropout(t, options, true, draw.key, first_row);
  });
}

void AlphaDropoutImpl::set_drop_rate(double p) {
  detail::check_rate("alpha_dropout", "p", p, false);
  options.p = p;
}

void AlphaDropoutImpl::pretty_print(std::ostream& stream) const {
  stream << "ballast::AlphaDropout(" << options.p << (options.channelwise ? ", channelwise" : "") << ')';
}

}  // namespace ballast
