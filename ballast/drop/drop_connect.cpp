#include <ballast/drop/drop_connect.h>

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/autograd.h>
#include <torch/library.h>

#include <cmath>
#include <numbers>
#include <ostream>
#include <vector>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/drop/dropout.h>
#include <ballast/drop/keyed_op.h>
#include <ballast/ops/conv2d.h>
#include <ballast/ops/linear.h>

namespace ballast {
namespace {

using torch::Tensor;

// The form sum_noj M_noj g_no W_oj x_nj has three gradients, each linear in two of g, W, x, and closed under
// differentiation: output(x, W)_no, input(g, W)_nj, weight(g, x)_oj.
enum class Part { output, input, weight };
constexpr const char* kNames[] = {"ballast::drop_connect", "ballast::drop_connect_input", "ballast::drop_connect_weight"};

struct Masks {
  int64_t stride;  // draws of one output: in + 1
  double p, scale;
  int64_t key, first_row;
};

Tensor call_drop_connect(Part part, const Tensor& a, const Tensor& b, const Masks& m) {
  using Signature = Tensor(const Tensor&, const Tensor&, int64_t, double, double, int64_t, int64_t);
  static const std::array<c10::TypedOperatorHandle<Signature>, 3> ops = {
      c10::Dispatcher::singleton().findSchemaOrThrow(kNames[0], "").typed<Signature>(),
      c10::Dispatcher::singleton().findSchemaOrThrow(kNames[1], "").typed<Signature>(),
      c10::Dispatcher::singleton().findSchemaOrThrow(kNames[2], "").typed<Signature>()};
  return ops[static_cast<size_t>(part)].call(a, b, m.stride, m.p, m.scale, m.key, m.first_row);
}

// Double precision, plainly: lanes and tree as the kernel's do not matter here.
double dot(const double* w, const double* x, size_t n, const uint16_t* keep, size_t offset) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) {
    if (kept(keep, offset + i)) sum += w[i] * x[i];
  }
  return sum;
}
void axpy(double a, const double* w, double* out, size_t n, const uint16_t* keep, size_t offset) {
  for (size_t i = 0; i < n; ++i) {
    if (kept(keep, offset + i)) out[i] += a * w[i];
  }
}

float dot(const float* w, const float* x, size_t n, const uint16_t* keep, size_t offset) {
  return keep_dot(w, x, n, keep, offset);
}
void axpy(float a, const float* w, float* out, size_t n, const uint16_t* keep, size_t offset) {
  keep_axpy(a, w, out, n, keep, offset);
}

template <class T>
void run(Part part, const T* g, const T* w, const T* x, T* out, int64_t rows, int64_t outs, int64_t ins, const Masks& m) {
  const DropRate rate = element_rate(m.p);
  const Key key = detail::to_key(m.key);
  const auto n = static_cast<size_t>(ins);
  const T scale = static_cast<T>(m.scale);
  const auto draw = [&](int64_t row, int64_t o, uint16_t* keep) {
    const auto first = static_cast<uint64_t>((m.first_row + row) * outs + o) * static_cast<uint64_t>(m.stride);
    return draw_keep(key, first, n, rate, keep);
  };
  if (part == Part::weight) {
    at::parallel_for(0, outs, 1, [&](int64_t begin, int64_t end) {
      std::vector<uint16_t> keep(keep_words(n));
      for (int64_t o = begin; o < end; ++o) {
        for (int64_t row = 0; row < rows; ++row) {
          const size_t offset = draw(row, o, keep.data());
          axpy(scale * g[row * outs + o], x + row * ins, out + o * ins, n, keep.data(), offset);
        }
      }
    });
    return;
  }
  at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    std::vector<uint16_t> keep(keep_words(n));
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t o = 0; o < outs; ++o) {
        const size_t offset = draw(row, o, keep.data());
        if (part == Part::output) {
          out[row * outs + o] = scale * dot(w + o * ins, x + row * ins, n, keep.data(), offset);
        } else {
          axpy(scale * g[row * outs + o], w + o * ins, out + row * ins, n, keep.data(), offset);
        }
      }
    }
  });
}

std::vector<int64_t> result_size(Part part, const Tensor& a, const Tensor& b) {
  switch (part) {
    case Part::output: return {a.size(0), b.size(0)};  // x, W
    case Part::input: return {a.size(0), b.size(1)};   // g, W
    default: return {a.size(1), b.size(1)};            // g, x
  }
}

template <Part part>
Tensor drop_connect_on_cpu(const Tensor& a, const Tensor& b, int64_t stride, double p, double scale, int64_t key, int64_t first_row) {
  const auto type = a.scalar_type() == torch::kDouble ? torch::kDouble : torch::kFloat;
  const Tensor ac = a.to(type).contiguous(), bc = b.to(type).contiguous();
  const std::vector<int64_t> size = result_size(part, a, b);
  const Tensor out = at::zeros(size, ac.options());
  const Masks m{stride, p, scale, key, first_row};
  const int64_t rows = a.size(0), ins = b.size(1), outs = part == Part::output ? b.size(0) : a.size(1);
  const auto go = [&](auto* first, auto* second, auto* result) {
    run(part, part == Part::output ? nullptr : first, part == Part::weight ? nullptr : second,
        part == Part::output ? first : second, result, rows, outs, ins, m);
  };
  if (type == torch::kDouble) {
    go(static_cast<const double*>(ac.data_ptr()), static_cast<const double*>(bc.data_ptr()), static_cast<double*>(out.data_ptr()));
  } else {
    go(static_cast<const float*>(ac.data_ptr()), static_cast<const float*>(bc.data_ptr()), static_cast<float*>(out.data_ptr()));
  }
  return out.to(a.scalar_type());
}

template <Part part>
Tensor drop_connect_elsewhere(const Tensor& a, const Tensor& b, int64_t stride, double p, double scale, int64_t key, int64_t first_row) {
  return call_drop_connect(part, a.cpu(), b.cpu(), {stride, p, scale, key, first_row}).to(a.device());
}

template <Part part>
Tensor on_meta(const Tensor& a, const Tensor& b, int64_t, double, double, int64_t, int64_t) {
  return at::empty(result_size(part, a, b), a.options());
}

struct Connect : torch::autograd::Function<Connect> {
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& a, const Tensor& b, int64_t part,
                        int64_t stride, double p, double scale, int64_t key, int64_t first_row) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({a, b});
    ctx->saved_data["part"] = part;
    ctx->saved_data["stride"] = stride;
    ctx->saved_data["p"] = p;
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["key"] = key;
    ctx->saved_data["first_row"] = first_row;
    return call_drop_connect(static_cast<Part>(part), a, b, {stride, p, scale, key, first_row});
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* ctx,
                                               const torch::autograd::tensor_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &a = saved[0], &b = saved[1], &h = gradients[0];
    auto& data = ctx->saved_data;
    const Masks m{data["stride"].toInt(), data["p"].toDouble(), data["scale"].toDouble(), data["key"].toInt(),
                  data["first_row"].toInt()};
    Tensor da, db;
    switch (static_cast<Part>(data["part"].toInt())) {
      case Part::output: da = call_drop_connect(Part::input, h, b, m), db = call_drop_connect(Part::weight, h, a, m); break;
      case Part::input: da = call_drop_connect(Part::output, h, b, m), db = call_drop_connect(Part::weight, a, h, m); break;
      case Part::weight: da = call_drop_connect(Part::output, b, h, m), db = call_drop_connect(Part::input, a, h, m); break;
    }
    return {da, db, Tensor(), Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

template <Part part>
Tensor drop_connect_with_gradient(const Tensor& a, const Tensor& b, int64_t stride, double p, double scale, int64_t key,
                                  int64_t first_row) {
  return Connect::apply(a, b, static_cast<int64_t>(part), stride, p, scale, key, first_row);
}

Tensor activated(const Tensor& x, Act act) {
  if (act == Act::none) return x;
  if (act == Act::relu) return at::relu(x);
  if (act == Act::tanh) return at::tanh(x);
  if (act == Act::sigmoid) return at::sigmoid(x);
  fail("drop_connect", "act must be none, relu, tanh or sigmoid, got ", act_name(act));
}

// The mean of phi over N(mu, variance).
Tensor gaussian_mean(const Tensor& mu, const Tensor& variance, const DropConnectOptions& o, Key key, int64_t first_row) {
  if (o.act == Act::none) return mu;
  const Tensor s = variance.sqrt();
  if (o.act == Act::relu) {
    const Tensor t = mu / s.clamp_min(1e-30);
    const Tensor area = 0.5 * at::erfc(t * -std::numbers::sqrt2 / 2);
    const Tensor density = (-0.5 * t * t).exp() * (std::numbers::inv_sqrtpi / std::numbers::sqrt2);
    return mu * area + s * density;
  }
  torch::NoGradGuard no_grad;
  const Tensor m = mu.to(torch::kCPU, torch::kDouble).contiguous(), d = s.to(torch::kCPU, torch::kDouble).contiguous();
  const Tensor out = at::empty_like(m);
  const double *mean = m.data_ptr<double>(), *width = d.data_ptr<double>();
  double* result = out.data_ptr<double>();
  const int64_t first = m.size(0) == 0 ? 0 : first_row * (m.numel() / m.size(0));
  at::parallel_for(0, m.numel(), 16, [&](int64_t begin, int64_t end) {
    std::vector<double> z(static_cast<size_t>(o.samples));
    for (int64_t i = begin; i < end; ++i) {
      fill_normal(key, static_cast<uint64_t>((first + i) * o.samples), z);
      double sum = 0;
      for (const double zi : z) sum += act_value(o.act, mean[i] + width[i] * zi, act_default_a(o.act));
      result[i] = sum / static_cast<double>(o.samples);
    }
  });
  return out.to(mu.device(), mu.scalar_type());
}

void check_options(const DropConnectOptions& o) {
  detail::check_rate("drop_connect", "p", o.p, true);
  check(o.samples >= 1, "drop_connect", "samples must be >= 1, got ", o.samples);
}

// [W | b] as a matrix (out, in + 1), for one mask over both.
Tensor with_bias_column(const Tensor& weight, const Tensor& bias) {
  const Tensor flat = weight.flatten(1);
  return at::cat({flat, bias.defined() ? bias.unsqueeze(1) : at::zeros({flat.size(0), 1}, flat.options())}, 1);
}

// Eval, and what is common to linear layers and convolutions: `apply` is the layer for any weights.
template <class Apply>
Tensor evaluated(const Tensor& x, const Tensor& weight, const Tensor& bias, const DropConnectOptions& o, double p, Key key,
                 int64_t first_row, const Apply& apply) {
  const double kept = o.scaling == Scaling::inference ? 1 - p : 1;
  const bool masked_bias = bias.defined() && o.drop_bias;
  const Tensor mu = kept == 1 ? apply(x, weight, bias) : apply(x, weight * kept, masked_bias ? bias * kept : bias);
  if (o.inference == Inference::mean || p == 0) return activated(mu, o.act);
  const Tensor variance = apply(x * x, weight * weight, masked_bias ? bias * bias : Tensor()) * (p / (1 - p) * kept * kept);
  return gaussian_mean(mu, variance, o, key.fold_in("gaussian"), first_row);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(ballast, m) {
  const std::string arguments = "int stride, float p, float scale, int key, int first_row=0) -> Tensor";
  m.def(("drop_connect(Tensor x, Tensor weight, " + arguments).c_str());
  m.def(("drop_connect_input(Tensor g, Tensor weight, " + arguments).c_str());
  m.def(("drop_connect_weight(Tensor g, Tensor x, " + arguments).c_str());
}
TORCH_LIBRARY_IMPL(ballast, CPU, m) {
  m.impl("drop_connect", drop_connect_on_cpu<Part::output>);
  m.impl("drop_connect_input", drop_connect_on_cpu<Part::input>);
  m.impl("drop_connect_weight", drop_connect_on_cpu<Part::weight>);
}
TORCH_LIBRARY_IMPL(ballast, CUDA, m) {
  m.impl("drop_connect", drop_connect_elsewhere<Part::output>);
  m.impl("drop_connect_input", drop_connect_elsewhere<Part::input>);
  m.impl("drop_connect_weight", drop_connect_elsewhere<Part::weight>);
}
TORCH_LIBRARY_IMPL(ballast, Meta, m) {
  m.impl("drop_connect", on_meta<Part::output>);
  m.impl("drop_connect_input", on_meta<Part::input>);
  m.impl("drop_connect_weight", on_meta<Part::weight>);
}
TORCH_LIBRARY_IMPL(ballast, Autograd, m) {
  m.impl("drop_connect", drop_connect_with_gradient<Part::output>);
  m.impl("drop_connect_input", drop_connect_with_gradient<Part::input>);
  m.impl("drop_connect_weight", drop_connect_with_gradient<Part::weight>);
}

Tensor drop_connect_linear(const Tensor& x, const Tensor& weight, const Tensor& bias, const DropConnectOptions& o,
                           bool training, Key key, int64_t first_row) {
  check_options(o);
  detail::check_input("drop_connect", x, 2);
  check(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1), "drop_connect", "x must have ", weight.size(-1),
        " features, got ", shape_text(x.sizes().vec()));
  const double p = element_rate(o.p).p();
  if (!training || p == 0) {
    return evaluated(x, weight, bias, o, training ? 0 : p, key, first_row,
                     [](const Tensor& a, const Tensor& w, const Tensor& b) { return ops::linear(a, w, b); });
  }
  const double scale = o.scaling == Scaling::training ? 1 / (1 - p) : 1;
  const bool masked_bias = bias.defined() && o.drop_bias;
  const int64_t in = weight.size(1);
  Tensor y;
  if (o.per_sample) {
    const Masks m{in + 1, o.p, scale, detail::to_int(key), first_row};
    y = masked_bias ? call_drop_connect(Part::output, at::cat({x, at::ones({x.size(0), 1}, x.options())}, 1),
                           with_bias_column(weight, bias), m)
                    : call_drop_connect(Part::output, x, weight, m);
  } else {
    const Tensor masked = dropout(with_bias_column(weight, masked_bias ? bias : Tensor()),
                                  {.p = o.p, .scaling = o.scaling}, true, key);
    y = ops::linear(x, masked.narrow(1, 0, in), masked_bias ? masked.select(1, in) : Tensor());
  }
  // An unmasked bias is not divided.
  if (bias.defined() && !masked_bias) y = y + bias;
  return activated(y, o.act);
}

Tensor drop_connect_conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const DropConnectConv2dGeometry& g,
                           const DropConnectOptions& o, bool training, Key key, int64_t first_row) {
  check_options(o);
  detail::check_input("drop_connect", x, 4);
  check(x.dim() == 4 && weight.dim() == 4 && x.size(1) == weight.size(1) * g.groups, "drop_connect", "x must have ",
        weight.size(1) * g.groups, " channels, got ", shape_text(x.sizes().vec()));
  const double p = element_rate(o.p).p();
  const auto convolve = [&](const Tensor& a, const Tensor& w, const Tensor& b) {
    return ops::conv2d(a, w, b, {g.stride, g.stride}, {g.padding, g.padding}, {1, 1}, g.groups);
  };
  if (!training || p == 0) return evaluated(x, weight, bias, o, training ? 0 : p, key, first_row, convolve);
  const bool masked_bias = bias.defined() && o.drop_bias;
  const Tensor matrix = with_bias_column(weight, masked_bias ? bias : Tensor());
  const int64_t fan = matrix.size(1) - 1, out = weight.size(0), n = x.size(0);
  const DropoutOptions elements{.p = o.p, .scaling = o.scaling};
  Tensor y;
  if (o.per_sample) {
    const Tensor masked = dropout(matrix.unsqueeze(0).expand({n, out, fan + 1}), elements, true, key, first_row);
    const std::vector<int64_t> shape = {n * out, weight.size(1), weight.size(2), weight.size(3)};
    const Tensor joined = x.reshape({1, n * x.size(1), x.size(2), x.size(3)});
    y = ops::conv2d(joined, masked.narrow(2, 0, fan).reshape(shape), {}, {g.stride, g.stride}, {g.padding, g.padding},
                    {1, 1}, n * g.groups);
    y = y.view({n, out, y.size(2), y.size(3)});
    if (masked_bias) y = y + masked.select(2, fan).unsqueeze(-1).unsqueeze(-1);
  } else {
    const Tensor masked = dropout(matrix, elements, true, key);
    y = convolve(x, masked.narrow(1, 0, fan).reshape(weight.sizes()), masked_bias ? masked.select(1, fan) : Tensor());
  }
  if (bias.defined() && !masked_bias) y = y + bias.view({1, -1, 1, 1});
  return activated(y, o.act);
}

DropConnectImpl::DropConnectImpl(DropConnectOptions o) : options(o) { check_options(o); }

Tensor DropConnectImpl::forward(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (mode() == DropMode::never || (drops(is_training()) && options.p == 0)) {
    return activated(ops::linear(x, weight, bias), options.act);
  }
  if (!drops(is_training())) return drop_connect_linear(x, weight, bias, options, false, options.key);
  const Draw draw = next_draw(options.key);
  return drop_connect_linear(x, weight, bias, options, true, draw.key, draw.first_row);
}

Tensor DropConnectImpl::forward_conv(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                     const DropConnectConv2dGeometry& g) {
  DropConnectOptions o = options;
  bool training = drops(is_training());
  if (mode() == DropMode::never) {
    o.p = 0;
    training = false;
  }
  if (!training || o.p == 0) return drop_connect_conv2d(x, weight, bias, g, o, false, options.key);
  const Draw draw = next_draw(options.key);
  return drop_connect_conv2d(x, weight, bias, g, o, true, draw.key, draw.first_row);
}

void DropConnectImpl::set_drop_rate(double p) {
  detail::check_rate("drop_connect", "p", p, true);
  options.p = p;
}

void DropConnectImpl::pretty_print(std::ostream& stream) const {
  stream << "ballast::DropConnect(" << options.p << (options.per_sample ? "" : ", shared")
         << (options.inference == Inference::gaussian ? ", gaussian" : "") << ')';
}

}  // namespace ballast
