#include <ballast/drop/spatial_dropout.h>

#include <torch/library.h>

#include <ostream>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/drop/keyed_op.h>

namespace ballast {
namespace {

torch::Tensor call_spatial_dropout(const torch::Tensor& x, double p, double scale, int64_t key, int64_t first_row) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("ballast::spatial_dropout", "")
                             .typed<torch::Tensor(const torch::Tensor&, double, double, int64_t, int64_t)>();
  return op.call(x, p, scale, key, first_row);
}

torch::Tensor spatial_dropout_on_cpu(const torch::Tensor& x, double p, double scale, int64_t key, int64_t first_row) {
  return detail::drop_groups(x, true, false, event_rate(p), {.scale = scale}, detail::to_key(key), first_row);
}

torch::Tensor spatial_dropout_elsewhere(const torch::Tensor& x, double p, double scale, int64_t key, int64_t first_row) {
  return call_spatial_dropout(x.cpu(), p, scale, key, first_row).to(x.device());
}

torch::Tensor spatial_dropout_with_gradient(const torch::Tensor& x, double p, double scale, int64_t key, int64_t first_row) {
  const auto run = [=](const torch::Tensor& t) { return call_spatial_dropout(t, p, scale, key, first_row); };
  return detail::drawn_again(x, run, run);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(ballast, m) {
  m.def("spatial_dropout(Tensor x, float p, float scale, int key, int first_row=0) -> Tensor");
}
TORCH_LIBRARY_IMPL(ballast, CPU, m) { m.impl("spatial_dropout", spatial_dropout_on_cpu); }
TORCH_LIBRARY_IMPL(ballast, CUDA, m) { m.impl("spatial_dropout", spatial_dropout_elsewhere); }
TORCH_LIBRARY_IMPL(ballast, Meta, m) {
  m.impl("spatial_dropout", [](const torch::Tensor& x, double, double, int64_t, int64_t) { return at::empty_like(x); });
}
TORCH_LIBRARY_IMPL(ballast, Autograd, m) { m.impl("spatial_dropout", spatial_dropout_with_gradient); }

torch::Tensor spatial_dropout(const torch::Tensor& x, const SpatialDropoutOptions& o, bool training, Key key,
                              int64_t first_row) {
  detail::check_rate("spatial_dropout", "p", o.p, false);
  detail::check_input("spatial_dropout", x, 2);
  const DropRate rate = event_rate(o.p);
  if (rate.none()) return x;
  const double kept = 1 - rate.p();
  if (!training) return o.scaling == Scaling::training ? x : x * kept;
  return call_spatial_dropout(x, o.p, o.scaling == Scaling::inference || rate.all() ? 1 : 1 / kept, detail::to_int(key), first_row);
}

SpatialDropoutBase::SpatialDropoutBase(SpatialDropoutOptions o, int64_t spatial) : options(o), spatial_(spatial) {
  detail::check_rate("spatial_dropout", "p", o.p, false);
}

torch::Tensor SpatialDropoutBase::run(const torch::Tensor& x, bool training) {
  constexpr const char* kForms[] = {"(N, C, L)", "(N, C, H, W)", "(N, C, D, H, W)"};
  if (x.dim() != spatial_ + 2) {
    fail("spatial_dropout", "SpatialDropout", spatial_, "d needs ", kForms[spatial_ - 1], ", got ",
         shape_text(x.sizes().vec()));
  }
  if (mode() == DropMode::never) return x;
  if (!drops(training) || options.p == 0) return spatial_dropout(x, options, false, Key());
  const Draw draw = next_draw(options.key);
  return detail::by_rows(x, draw.first_row, draw.rows, [&](const torch::Tensor& t, int64_t first_row) {
    return spatial_dropout(t, options, true, draw.key, first_row);
  });
}

void SpatialDropoutBase::set_drop_rate(double p) {
  detail::check_rate("spatial_dropout", "p", p, false);
  options.p = p;
}

void SpatialDropoutBase::print(std::ostream& stream) const {
  stream << "ballast::SpatialDropout" << spatial_ << "d(" << options.p << ')';
}

}  // namespace ballast
