#include <ballast/drop/dropout.h>

#include <ATen/Parallel.h>
#include <torch/library.h>

#include <ostream>

#include <ballast/drop/keyed_op.h>

namespace ballast {
namespace {

torch::Tensor call_dropout(const torch::Tensor& x, double p, double scale, int64_t key, int64_t first_row) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("ballast::dropout", "")
                             .typed<torch::Tensor(const torch::Tensor&, double, double, int64_t, int64_t)>();
  return op.call(x, p, scale, key, first_row);
}

torch::Tensor dropout_on_cpu(const torch::Tensor& x, double p, double scale, int64_t key, int64_t first_row) {
  const DropRate rate = element_rate(p);
  const detail::Walk w = detail::walk(x);
  const uint64_t first = detail::first_element(x, first_row);
  const KeepValues values{.scale = scale, .stream = w.streams()};
  const Key k = detail::to_key(key);
  if (w.channels_last) {
    const auto size = static_cast<size_t>(w.row_size());
    detail::apply_rows(
        w, [&](int64_t row, uint16_t* words, Ahead ahead) { return draw_keep(k, first + static_cast<uint64_t>(row) * size, size, rate, words, ahead); },
        [&](int64_t, const uint16_t*, size_t) { return values; });
    return w.result(x);
  }
  constexpr int64_t kBlock = 4096;
  const int64_t n = w.x.numel();
  at::parallel_for(0, (n + kBlock - 1) / kBlock, 8, [&](int64_t begin, int64_t end) {
    const int64_t from = begin * kBlock;
    const auto count = static_cast<size_t>(std::min(n, end * kBlock) - from);
    const uint64_t at = first + static_cast<uint64_t>(from);
    if (w.x.scalar_type() == torch::kDouble) {
      drop_elements(static_cast<const double*>(w.x.data_ptr()) + from, static_cast<double*>(w.y.data_ptr()) + from, count,
                    k, at, rate, values);
    } else if (w.x.scalar_type() == torch::kFloat) {
      drop_elements(static_cast<const float*>(w.x.data_ptr()) + from, static_cast<float*>(w.y.data_ptr()) + from, count,
                    k, at, rate, values);
    } else {
      drop_elements_bf16(static_cast<const uint16_t*>(w.x.data_ptr()) + from,
                         static_cast<uint16_t*>(w.y.data_ptr()) + from, count, k, at, rate, values);
    }
    end_stream();
  });
  return w.result(x);
}

torch::Tensor dropout_elsewhere(const torch::Tensor& x, double p, double scale, int64_t key, int64_t first_row) {
  return call_dropout(x.cpu(), p, scale, key, first_row).to(x.device());
}

torch::Tensor dropout_with_gradient(const torch::Tensor& x, double p, double scale, int64_t key, int64_t first_row) {
  const auto run = [=](const torch::Tensor& t) { return call_dropout(t, p, scale, key, first_row); };
  return detail::drawn_again(x, run, run);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(ballast, m) {
  m.def("dropout(Tensor x, float p, float scale, int key, int first_row=0) -> Tensor");
}
TORCH_LIBRARY_IMPL(ballast, CPU, m) { m.impl("dropout", dropout_on_cpu); }
TORCH_LIBRARY_IMPL(ballast, CUDA, m) { m.impl("dropout", dropout_elsewhere); }
TORCH_LIBRARY_IMPL(ballast, Meta, m) {
  m.impl("dropout", [](const torch::Tensor& x, double, double, int64_t, int64_t) { return at::empty_like(x); });
}
TORCH_LIBRARY_IMPL(ballast, Autograd, m) { m.impl("dropout", dropout_with_gradient); }

double effective_p(double p) { return element_rate(p).p(); }

torch::Tensor dropout(const torch::Tensor& x, const DropoutOptions& o, bool training, Key key, int64_t first_row) {
  detail::check_rate("dropout", "p", o.p, false);
  detail::check_input("dropout", x, 1);
  const DropRate rate = element_rate(o.p);
  if (rate.none()) return x;
  const double kept = 1 - rate.p();
  if (!training) return o.scaling == Scaling::training ? x : x * kept;
  return call_dropout(x, o.p, o.scaling == Scaling::inference || rate.all() ? 1 : 1 / kept, detail::to_int(key), first_row);
}

DropoutImpl::DropoutImpl(DropoutOptions o) : options(o) { detail::check_rate("dropout", "p", o.p, false); }

torch::Tensor DropoutImpl::forward(const torch::Tensor& x) {
  if (mode() == DropMode::never) return x;
  if (!drops(is_training()) || options.p == 0) return dropout(x, options, false, Key());
  const Draw draw = next_draw(options.key);
  return detail::by_rows(x, draw.first_row, draw.rows, [&](const torch::Tensor& t, int64_t first_row) {
    return dropout(t, options, true, draw.key, first_row);
  });
}

void DropoutImpl::set_drop_rate(double p) {
  detail::check_rate("dropout", "p", p, false);
  options.p = p;
}

void DropoutImpl::pretty_print(std::ostream& stream) const { stream << "ballast::Dropout(" << options.p << ')'; }

}  // namespace ballast
