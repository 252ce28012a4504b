#include <ballast/loss/cross_entropy_op.h>

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>
#include <torch/version.h>

#include <algorithm>
#include <cmath>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/loss/cross_entropy_kernel.h>

namespace ballast::detail {
namespace {

using torch::Tensor;
using MaybeTensor = c10::optional<Tensor>;
using Two = std::tuple<Tensor, Tensor>;

Tensor defined_or_none(const MaybeTensor& t) { return t ? *t : Tensor(); }
MaybeTensor optional_of(const Tensor& t) { return t.defined() ? MaybeTensor(t) : MaybeTensor(); }

const auto& forward_handle() {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("ballast::cross_entropy", "")
                             .typed<Two(const Tensor&, const Tensor&, const MaybeTensor&, const MaybeTensor&,
                                        const MaybeTensor&, double, int64_t)>();
  return op;
}
const auto& backward_handle() {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("ballast::cross_entropy_backward", "")
                             .typed<Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const MaybeTensor&,
                                           const MaybeTensor&, const MaybeTensor&, double, int64_t)>();
  return op;
}

// Scores, probabilities: classes last, as rows that follow each other.
Tensor as_rows(const Tensor& x) {
  return (x.dim() == 2 ? x : x.movedim(1, -1).reshape({-1, x.size(1)})).contiguous();
}

// The place of row `flat` in a tensor of these sizes: (3) or (3, 5).
std::string place_text(int64_t flat, at::IntArrayRef sizes) {
  std::vector<int64_t> place(sizes.size());
  for (size_t d = sizes.size(); d-- > 0;) {
    place[d] = flat % sizes[d];
    flat /= sizes[d];
  }
  return shape_text(place);
}

std::vector<int64_t> row_sizes(const Tensor& logits) {
  std::vector<int64_t> sizes = logits.sizes().vec();
  sizes.erase(sizes.begin() + 1);
  return sizes;
}

void check_classes(const Tensor& target, int64_t classes, bool may_ignore, int64_t ignore_index) {
  const Tensor flat = target.contiguous();
  const auto* y = static_cast<const int64_t*>(flat.data_ptr());
  for (int64_t n = 0; n < flat.numel(); ++n) {
    if ((y[n] >= 0 && y[n] < classes) || (may_ignore && y[n] == ignore_index)) continue;
    fail("cross_entropy", "target must be in [0, ", classes, "), got ", y[n], " at ", place_text(n, target.sizes()));
  }
}

// What the kernels read, kept alive.
struct Rows {
  Tensor x, target, other, lam, weight;
  template <class T>
  loss_kernel::Target<T> of(int64_t first, double smoothing, int64_t ignored) const {
    loss_kernel::Target<T> t;
    t.classes = static_cast<size_t>(x.size(1));
    if (target.scalar_type() == torch::kLong) {
      t.a = static_cast<const int64_t*>(target.data_ptr()) + first;
    } else {
      t.probabilities = static_cast<const T*>(target.data_ptr()) + first * x.size(1);
    }
    t.lam_stride = lam.defined() && lam.dim() > 0 ? 1 : 0;
    if (other.defined()) {
      t.b = static_cast<const int64_t*>(other.data_ptr()) + first;
      t.lam = static_cast<const T*>(lam.data_ptr()) + first * static_cast<int64_t>(t.lam_stride);
    }
    if (weight.defined()) t.weight = static_cast<const T*>(weight.data_ptr());
    t.smoothing = smoothing;
    t.ignored = ignored;
    return t;
  }
};

Rows rows_of(const Tensor& logits, const Tensor& target, const MaybeTensor& other, const MaybeTensor& lam,
             const MaybeTensor& weight) {
  const auto plain = [](const MaybeTensor& t) { return t && t->defined() ? t->contiguous() : Tensor(); };
  return {as_rows(logits), target.scalar_type() == torch::kLong ? target.contiguous() : as_rows(target), plain(other),
          plain(lam), plain(weight)};
}

template <class F>
void over_rows(int64_t rows, int64_t classes, const F& f) {
  at::parallel_for(0, rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(classes, 1)), f);
}

template <class F>
void by_type(const Tensor& x, const F& f) {
  check(x.scalar_type() == torch::kFloat || x.scalar_type() == torch::kDouble, "cross_entropy",
        "logits must be float32 or float64, got ", x.scalar_type());
  if (x.scalar_type() == torch::kDouble) {
    f(double());
  } else {
    f(float());
  }
}

Two on_cpu(const Tensor& logits, const Tensor& target, const MaybeTensor& other, const MaybeTensor& lam,
           const MaybeTensor& weight, double smoothing, int64_t ignore_index) {
  const int64_t classes = logits.size(1);
  const bool indices = target.scalar_type() == torch::kLong, mixed = other && other->defined();
  if (indices) check_classes(target, classes, !mixed, ignore_index);
  if (mixed) check_classes(*other, classes, false, 0);
  const std::vector<int64_t> sizes = row_sizes(logits);
  const Tensor loss = at::zeros(sizes, logits.options());
  const int64_t rows = loss.numel();
  const Tensor stats = at::zeros({rows, static_cast<int64_t>(loss_kernel::kRowStats)}, logits.options());
  if (rows == 0 || classes == 0) return {loss, stats};
  const Rows r = rows_of(logits, target, other, lam, weight);
  by_type(logits, [&](auto zero) {
    using T = decltype(zero);
    const auto* x = static_cast<const T*>(r.x.data_ptr());
    auto* l = static_cast<T*>(loss.data_ptr());
    auto* s = static_cast<T*>(stats.data_ptr());
    over_rows(rows, classes, [&](int64_t begin, int64_t end) {
      loss_kernel::cross_entropy(x + begin * classes, static_cast<size_t>(end - begin),
                                 r.of<T>(begin, smoothing, ignore_index), l + begin,
                                 s + begin * static_cast<int64_t>(loss_kernel::kRowStats));
    });
    if (indices) return;
    for (int64_t n = 0; n < rows; ++n) {
      T& sum = s[n * static_cast<int64_t>(loss_kernel::kRowStats) + 3];
      // NaN is no sum of 1 either.
      if (!(std::abs(static_cast<double>(sum) - 1) <= 1e-3)) {
        fail("cross_entropy", "target rows must sum to 1, got ", sum, " at ", place_text(n, sizes));
      }
      sum = 1;
    }
  });
  return {loss, stats};
}

Tensor backward_on_cpu(const Tensor& grad, const Tensor& logits, const Tensor& stats, const Tensor& target,
                       const MaybeTensor& other, const MaybeTensor& lam, const MaybeTensor& weight, double smoothing,
                       int64_t ignore_index) {
  const Rows r = rows_of(logits, target, other, lam, weight);
  const Tensor dx = at::empty_like(r.x);
  const int64_t rows = r.x.size(0), classes = logits.size(1);
  if (dx.numel() > 0) {
    // A gradient that a mean spreads has one value and strides of 0.
    const bool one = grad.numel() > 0 && std::all_of(grad.strides().begin(), grad.strides().end(), [](int64_t s) { return s == 0; });
    const Tensor g = one ? grad : grad.contiguous();
    by_type(logits, [&](auto zero) {
      using T = decltype(zero);
      const auto* x = static_cast<const T*>(r.x.data_ptr());
      const auto* s = static_cast<const T*>(stats.data_ptr());
      const auto* up = static_cast<const T*>(g.data_ptr());
      auto* out = static_cast<T*>(dx.data_ptr());
      over_rows(rows, classes, [&](int64_t begin, int64_t end) {
        loss_kernel::cross_entropy_backward(x + begin * classes, static_cast<size_t>(end - begin),
                                            r.of<T>(begin, smoothing, ignore_index),
                                            s + begin * static_cast<int64_t>(loss_kernel::kRowStats),
                                            one ? up : up + begin, one ? 0 : 1, out + begin * classes);
      });
    });
  }
  if (logits.dim() == 2) return dx;
  std::vector<int64_t> shape = row_sizes(logits);
  shape.push_back(classes);
  return dx.view(shape).movedim(-1, 1).contiguous(logits.suggest_memory_format());
}

// w_k q'_k of every row, (N, K, d...), 0 in ignored rows; and the rows' shares of the divisor.
RowLosses dense(const Tensor& logits, const RowTarget& t) {
  std::vector<int64_t> by_class(static_cast<size_t>(logits.dim()), 1);
  by_class[1] = logits.size(1);
  const Tensor w = t.weight.defined() ? t.weight.view(by_class) : Tensor();
  Tensor q = t.target, share, kept;
  if (t.target.scalar_type() == torch::kLong) {
    const bool mixed = t.other.defined();
    kept = mixed ? at::ones_like(t.target, torch::kBool) : t.target != t.ignore_index;
    const Tensor index = at::where(kept, t.target, at::zeros_like(t.target)).unsqueeze(1);
    const Tensor zeros = at::zeros_like(logits.detach());
    const Tensor lam = mixed ? t.lam.expand(t.target.sizes()).unsqueeze(1) : Tensor();
    const Tensor ones = at::ones_like(index, logits.scalar_type());
    q = zeros.scatter(1, index, mixed ? lam : ones);
    if (mixed) q = q + zeros.scatter(1, t.other.unsqueeze(1), 1 - lam);
    share = mixed || !w.defined() ? kept.to(logits.scalar_type()) : (q * w).sum(1) * kept;
  } else {
    share = at::ones(row_sizes(logits), logits.options().requires_grad(false));
  }
  const double e = t.label_smoothing;
  if (e > 0) q = (1 - e) * q + e / static_cast<double>(logits.size(1));
  if (w.defined()) q = q * w;
  if (kept.defined()) q = q * kept.unsqueeze(1);
  return {q, share};
}

Two elsewhere(const Tensor& logits, const Tensor& target, const MaybeTensor& other, const MaybeTensor& lam,
              const MaybeTensor& weight, double smoothing, int64_t ignore_index) {
  const auto host = [](const MaybeTensor& t) { return t && t->defined() ? MaybeTensor(t->cpu()) : MaybeTensor(); };
  const auto [loss, stats] = forward_handle().call(logits.cpu(), target.cpu(), host(other), host(lam), host(weight),
                                                   smoothing, ignore_index);
  return {loss.to(logits.device()), stats.to(logits.device())};
}

Tensor backward_elsewhere(const Tensor& grad, const Tensor& logits, const Tensor& stats, const Tensor& target,
                          const MaybeTensor& other, const MaybeTensor& lam, const MaybeTensor& weight, double smoothing,
                          int64_t ignore_index) {
  const auto host = [](const MaybeTensor& t) { return t && t->defined() ? MaybeTensor(t->cpu()) : MaybeTensor(); };
  return backward_handle()
      .call(grad.cpu(), logits.cpu(), stats.cpu(), target.cpu(), host(other), host(lam), host(weight), smoothing, ignore_index)
      .to(logits.device());
}

Two meta(const Tensor& logits, const Tensor&, const MaybeTensor&, const MaybeTensor&, const MaybeTensor&, double, int64_t) {
  const c10::SymIntArrayRef sizes = logits.sym_sizes();
  std::vector<c10::SymInt> shape(sizes.begin(), sizes.end());
  shape.erase(shape.begin() + 1);
  c10::SymInt rows = 1;
  for (const c10::SymInt& s : shape) rows = rows * s;
  return {logits.new_empty_symint(shape),
          logits.new_empty_symint({rows, c10::SymInt(static_cast<int64_t>(loss_kernel::kRowStats))})};
}

Tensor backward_meta(const Tensor&, const Tensor& logits, const Tensor&, const Tensor&, const MaybeTensor&,
                     const MaybeTensor&, const MaybeTensor&, double, int64_t) {
  return at::empty_like(logits, logits.options(), logits.suggest_memory_format());
}

struct CrossEntropyFunction : torch::autograd::Function<CrossEntropyFunction> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* ctx, const Tensor& logits,
                                                const Tensor& target, const MaybeTensor& other, const MaybeTensor& lam,
                                                const MaybeTensor& weight, double smoothing, int64_t ignore_index) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [loss, stats] = forward_handle().call(logits, target, other, lam, weight, smoothing, ignore_index);
    ctx->save_for_backward({logits, stats, target, defined_or_none(other), defined_or_none(lam), defined_or_none(weight)});
    ctx->saved_data["smoothing"] = smoothing;
    ctx->saved_data["ignore_index"] = ignore_index;
    ctx->mark_non_differentiable({stats});
    ctx->set_materialize_grads(false);
    return {loss, stats};
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    torch::autograd::variable_list result(7);
    if (!grads[0].defined()) return result;
    const auto saved = ctx->get_saved_variables();
    result[0] = backward_handle().call(grads[0], saved[0], saved[1], saved[2], optional_of(saved[3]), optional_of(saved[4]),
                                       optional_of(saved[5]), ctx->saved_data["smoothing"].toDouble(),
                                       ctx->saved_data["ignore_index"].toInt());
    return result;
  }
};

Two with_gradient(const Tensor& logits, const Tensor& target, const MaybeTensor& other, const MaybeTensor& lam,
                  const MaybeTensor& weight, double smoothing, int64_t ignore_index) {
  const auto r = CrossEntropyFunction::apply(logits, target, other, lam, weight, smoothing, ignore_index);
  return {r[0], r[1]};
}

Tensor backward_with_gradient(const Tensor& grad, const Tensor& logits, const Tensor& stats, const Tensor& target,
                              const MaybeTensor& other, const MaybeTensor& lam, const MaybeTensor& weight, double smoothing,
                              int64_t ignore_index) {
  if (at::GradMode::is_enabled() && (grad.requires_grad() || logits.requires_grad())) {
    const Tensor q = dense(logits, {target, defined_or_none(other), defined_or_none(lam), defined_or_none(weight), smoothing,
                                    ignore_index}).loss;
    return grad.unsqueeze(1) * (logits.softmax(1) * q.sum(1, /*keepdim=*/true) - q);
  }
  at::AutoDispatchBelowADInplaceOrView guard;
  return backward_handle().call(grad, logits, stats, target, other, lam, weight, smoothing, ignore_index);
}

}  // namespace

RowLosses cross_entropy_rows(const Tensor& logits, const RowTarget& t) {
  const auto [loss, stats] = forward_handle().call(logits, t.target, optional_of(t.other), optional_of(t.lam),
                                                   optional_of(t.weight), t.label_smoothing, t.ignore_index);
  return {loss, stats.select(1, 3).view(loss.sizes())};
}

RowLosses composed_cross_entropy_rows(const Tensor& logits, const RowTarget& t) {
  const auto [q, share] = dense(logits, t);
  const Tensor log_p = logits.log_softmax(1);
  return {-at::where(q == 0, at::zeros_like(log_p), q * log_p).sum(1), share};
}

}  // namespace ballast::detail

#if TORCH_VERSION_MAJOR >= 2
#define BALLAST_OPERATOR_TAGS , {at::Tag::pt2_compliant_tag}
#else
#define BALLAST_OPERATOR_TAGS
#endif

TORCH_LIBRARY_FRAGMENT(ballast, m) {
  m.def("cross_entropy(Tensor logits, Tensor target, Tensor? other=None, Tensor? lam=None, Tensor? weight=None, "
        "float label_smoothing=0.0, int ignore_index=-100) -> (Tensor loss, Tensor stats)" BALLAST_OPERATOR_TAGS);
  m.def("cross_entropy_backward(Tensor grad, Tensor logits, Tensor stats, Tensor target, Tensor? other=None, "
        "Tensor? lam=None, Tensor? weight=None, float label_smoothing=0.0, int ignore_index=-100) -> Tensor"
        BALLAST_OPERATOR_TAGS);
}
TORCH_LIBRARY_IMPL(ballast, CPU, m) {
  m.impl("cross_entropy", ballast::detail::on_cpu);
  m.impl("cross_entropy_backward", ballast::detail::backward_on_cpu);
}
TORCH_LIBRARY_IMPL(ballast, CUDA, m) {
  m.impl("cross_entropy", ballast::detail::elsewhere);
  m.impl("cross_entropy_backward", ballast::detail::backward_elsewhere);
}
TORCH_LIBRARY_IMPL(ballast, Meta, m) {
  m.impl("cross_entropy", ballast::detail::meta);
  m.impl("cross_entropy_backward", ballast::detail::backward_meta);
}
TORCH_LIBRARY_IMPL(ballast, Autograd, m) {
  m.impl("cross_entropy", ballast::detail::with_gradient);
  m.impl("cross_entropy_backward", ballast::detail::backward_with_gradient);
}
