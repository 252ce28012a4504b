#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>
#include <torch/version.h>

#include <string>

#include <ballast/base/check.h>
#include <ballast/norm/cpu_norm.h>
#include <ballast/norm/norm_input.h>
#include <ballast/norm/ops.h>

// The operators torch.ops.ballast.*. This file holds the library's definition; other rooms add theirs with
// TORCH_LIBRARY_FRAGMENT(ballast, m).

namespace ballast::detail {
namespace {

using torch::Tensor;
using MaybeTensor = c10::optional<Tensor>;
using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;
using Three = std::tuple<Tensor, Tensor, Tensor>;
using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;

Tensor defined_or_none(const MaybeTensor& t) { return t ? *t : Tensor(); }
MaybeTensor optional_of(const Tensor& t) { return t.defined() ? MaybeTensor(t) : MaybeTensor(); }

Fused fused_of(c10::string_view act, double a) {
  const Fused fused{parse_act(std::string_view(act.data(), act.size())), a};
  check(is_fused(fused.act), "norm", "act must be one of none, relu, relu6, leaky_relu, silu, hardswish, got ",
        std::string_view(act.data(), act.size()));
  return fused;
}

c10::string_view name_of(Act act) {
  const std::string_view name = act_name(act);
  return c10::string_view(name.data(), name.size());
}

// ---- Calls through the dispatcher

template <class Signature>
c10::TypedOperatorHandle<Signature> find(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

using BatchNormSignature = Three(const Tensor&, const MaybeTensor&, const MaybeTensor&, const MaybeTensor&,
                                 const MaybeTensor&, bool, double, c10::string_view, double);
using BatchNormAddSignature = Four(const Tensor&, const Tensor&, const MaybeTensor&, const MaybeTensor&,
                                   const MaybeTensor&, const MaybeTensor&, bool, double, c10::string_view, double);
using BatchNormBackwardSignature = Three(const Tensor&, const Tensor&, const MaybeTensor&, const MaybeTensor&,
                                         const Tensor&, const Tensor&, bool, double, c10::string_view, double);
using BatchNormAddBackwardSignature = Four(const Tensor&, const Tensor&, const Tensor&, const MaybeTensor&,
                                           const MaybeTensor&, const Tensor&, const Tensor&, bool, double,
                                           c10::string_view, double);
using GroupNormSignature = Three(const Tensor&, int64_t, const MaybeTensor&, const MaybeTensor&, double, c10::string_view,
                                 double);
using GroupNormBackwardSignature = Three(const Tensor&, const Tensor&, int64_t, const MaybeTensor&, const MaybeTensor&,
                                         const Tensor&, const Tensor&, double, c10::string_view, double);
using FeatureNormSignature = Three(const Tensor&, int64_t, const MaybeTensor&, const MaybeTensor&, double, bool,
                                   c10::string_view, double);
using FeatureNormBackwardSignature = Three(const Tensor&, const Tensor&, int64_t, const MaybeTensor&, const MaybeTensor&,
                                           const Tensor&, const Tensor&, double, bool, c10::string_view, double);

const auto& batch_norm_handle() {
  static const auto op = find<BatchNormSignature>("ballast::batch_norm");
  return op;
}
const auto& batch_norm_add_handle() {
  static const auto op = find<BatchNormAddSignature>("ballast::batch_norm_add");
  return op;
}
const auto& batch_norm_backward_handle() {
  static const auto op = find<BatchNormBackwardSignature>("ballast::batch_norm_backward");
  return op;
}
const auto& batch_norm_add_backward_handle() {
  static const auto op = find<BatchNormAddBackwardSignature>("ballast::batch_norm_add_backward");
  return op;
}
const auto& group_norm_handle() {
  static const auto op = find<GroupNormSignature>("ballast::group_norm");
  return op;
}
const auto& group_norm_backward_handle() {
  static const auto op = find<GroupNormBackwardSignature>("ballast::group_norm_backward");
  return op;
}
const auto& feature_norm_handle() {
  static const auto op = find<FeatureNormSignature>("ballast::feature_norm");
  return op;
}
const auto& feature_norm_backward_handle() {
  static const auto op = find<FeatureNormBackwardSignature>("ballast::feature_norm_backward");
  return op;
}

// ---- CPU

void check_numbers(const char* stem, const Tensor& x, const MaybeTensor& weight, const MaybeTensor& bias) {
  check_channels(stem, x, x.dim() >= 2 ? x.size(1) : 0);
  check_parameter(stem, "weight", defined_or_none(weight), {x.size(1)});
  check_parameter(stem, "bias", defined_or_none(bias), {x.size(1)});
}

void check_statistics(const Tensor& x, bool training, const MaybeTensor& running_mean, const MaybeTensor& running_var) {
  const bool has = running_mean && running_mean->defined() && running_var && running_var->defined();
  if (!training) {
    check(has, "batch_norm", "eval needs running statistics, got none");
    check_parameter("batch_norm", "running_mean", *running_mean, {x.size(1)});
    check_parameter("batch_norm", "running_var", *running_var, {x.size(1)});
  } else if (x.numel() == x.size(1) && x.numel() > 0) {
    fail("batch_norm", "x must have more than 1 value per channel in training, got ", shape_text(x));
  }
}

Three batch_norm_on_cpu(const Tensor& x, const MaybeTensor& weight, const MaybeTensor& bias, const MaybeTensor& running_mean,
                        const MaybeTensor& running_var, bool training, double eps, c10::string_view act, double act_a) {
  check_numbers("batch_norm", x, weight, bias);
  check_statistics(x, training, running_mean, running_var);
  ChannelNormResult r =
      batch_norm_cpu(x, {}, defined_or_none(weight), defined_or_none(bias), defined_or_none(running_mean),
                     defined_or_none(running_var), training, eps, fused_of(act, act_a));
  return {r.y, r.mean, r.var};
}

Four batch_norm_add_on_cpu(const Tensor& x, const Tensor& residual, const MaybeTensor& weight, const MaybeTensor& bias,
                           const MaybeTensor& running_mean, const MaybeTensor& running_var, bool training, double eps,
                           c10::string_view act, double act_a) {
  check_numbers("batch_norm", x, weight, bias);
  check_statistics(x, training, running_mean, running_var);
  if (residual.sizes() != x.sizes()) {
    fail("batch_norm", "residual must have the shape of x, got ", shape_text(x), " and ", shape_text(residual));
  }
  const Fused fused = fused_of(act, act_a);
  check(fused.act != Act::silu && fused.act != Act::hardswish, "batch_norm",
        "act before which a residual is added must be one of none, relu, relu6, leaky_relu, got ", act_name(fused.act));
  ChannelNormResult r =
      batch_norm_cpu(x, residual, defined_or_none(weight), defined_or_none(bias), defined_or_none(running_mean),
                     defined_or_none(running_var), training, eps, fused);
  return {r.y, r.mean, r.var, r.mask};
}

Three batch_norm_backward_on_cpu(const Tensor& dy, const Tensor& x, const MaybeTensor& weight, const MaybeTensor& bias,
                                 const Tensor& mean, const Tensor& var, bool training, double eps, c10::string_view act,
                                 double act_a) {
  ChannelNormGrads r = batch_norm_backward_cpu(dy, x, {}, defined_or_none(weight), defined_or_none(bias), mean, var,
                                               training, eps, fused_of(act, act_a));
  return {r.dx, r.dweight, r.dbias};
}

Four batch_norm_add_backward_on_cpu(const Tensor& dy, const Tensor& x, const Tensor& mask, const MaybeTensor& weight,
                                    const MaybeTensor& bias, const Tensor& mean, const Tensor& var, bool training,
                                    double eps, c10::string_view act, double act_a) {
  ChannelNormGrads r = batch_norm_backward_cpu(dy, x, mask, defined_or_none(weight), defined_or_none(bias), mean, var,
                                               training, eps, fused_of(act, act_a));
  return {r.dx, r.dresidual, r.dweight, r.dbias};
}

Three group_norm_on_cpu(const Tensor& x, int64_t groups, const MaybeTensor& weight, const MaybeTensor& bias, double eps,
                        c10::string_view act, double act_a) {
  check_numbers("group_norm", x, weight, bias);
  if (groups == 0) groups = x.size(1);
  check(groups >= 1 && x.size(1) % groups == 0, "group_norm", "num_groups must divide channels, got ", groups, " and ",
        x.size(1));
  ChannelNormResult r =
      group_norm_cpu(x, groups, defined_or_none(weight), defined_or_none(bias), eps, fused_of(act, act_a));
  return {r.y, r.mean, r.var};
}

Three group_norm_backward_on_cpu(const Tensor& dy, const Tensor& x, int64_t groups, const MaybeTensor& weight,
                                 const MaybeTensor& bias, const Tensor& mean, const Tensor& var, double eps,
                                 c10::string_view act, double act_a) {
  ChannelNormGrads r = group_norm_backward_cpu(dy, x, groups == 0 ? x.size(1) : groups, defined_or_none(weight),
                                               defined_or_none(bias), mean, var, eps, fused_of(act, act_a));
  return {r.dx, r.dweight, r.dbias};
}

Three feature_norm_on_cpu(const Tensor& x, int64_t dims, const MaybeTensor& weight, const MaybeTensor& bias, double eps,
                          bool rms, c10::string_view act, double act_a) {
  const char* stem = rms ? (dims > 0 ? "rms_norm" : "rms_norm_2d") : dims > 0 ? "layer_norm" : "layer_norm_2d";
  if (dims == 0) {
    check_numbers(stem, x, weight, bias);
  } else {
    check(dims >= 1 && dims <= x.dim(), stem, "dims must be in [1, ", x.dim(), "], got ", dims);
    const at::IntArrayRef shape = x.sizes().slice(static_cast<size_t>(x.dim() - dims));
    check_last(stem, x, shape);
    check_parameter(stem, "weight", defined_or_none(weight), shape);
    check_parameter(stem, "bias", defined_or_none(bias), shape);
  }
  FeatureNormResult r =
      feature_norm_cpu(x, dims, defined_or_none(weight), defined_or_none(bias), eps, rms, fused_of(act, act_a));
  return {r.y, r.mean, r.rstd};
}

Three feature_norm_backward_on_cpu(const Tensor& dy, const Tensor& x, int64_t dims, const MaybeTensor& weight,
                                   const MaybeTensor& bias, const Tensor& mean, const Tensor& rstd, double eps, bool rms,
                                   c10::string_view act, double act_a) {
  return feature_norm_backward_cpu(dy, x, dims, defined_or_none(weight), defined_or_none(bias), mean, rstd, eps, rms,
                                   fused_of(act, act_a));
}

// ---- Meta: shapes only; sizes may be symbols

Tensor like(const Tensor& x) { return at::empty_like(x, x.options(), x.suggest_memory_format()); }

Tensor parameter_like(const MaybeTensor& parameter, const Tensor& otherwise) {
  return parameter && parameter->defined() ? at::empty_like(*parameter) : otherwise.new_empty({0});
}

Three batch_norm_meta(const Tensor& x, const MaybeTensor&, const MaybeTensor&, const MaybeTensor&, const MaybeTensor&, bool,
                      double, c10::string_view, double) {
  const std::vector<c10::SymInt> shape = {x.sym_size(1)};
  const Tensor mean = x.new_empty_symint(shape, x.options().dtype(torch::kDouble));
  return {like(x), mean, at::empty_like(mean)};
}

Four batch_norm_add_meta(const Tensor& x, const Tensor&, const MaybeTensor& weight, const MaybeTensor& bias,
                         const MaybeTensor& running_mean, const MaybeTensor& running_var, bool training, double eps,
                         c10::string_view act, double act_a) {
  auto [y, mean, var] = batch_norm_meta(x, weight, bias, running_mean, running_var, training, eps, act, act_a);
  const std::vector<c10::SymInt> shape = {mask_size(x)};
  return {y, mean, var, x.new_empty_symint(shape, x.options().dtype(torch::kByte))};
}

Three batch_norm_backward_meta(const Tensor&, const Tensor& x, const MaybeTensor& weight, const MaybeTensor& bias,
                               const Tensor& mean, const Tensor&, bool, double, c10::string_view, double) {
  return {like(x), parameter_like(weight, mean), parameter_like(bias, mean)};
}

Four batch_norm_add_backward_meta(const Tensor&, const Tensor& x, const Tensor&, const MaybeTensor& weight,
                                  const MaybeTensor& bias, const Tensor& mean, const Tensor&, bool, double,
                                  c10::string_view, double) {
  return {like(x), like(x), parameter_like(weight, mean), parameter_like(bias, mean)};
}

Three group_norm_meta(const Tensor& x, int64_t groups, const MaybeTensor&, const MaybeTensor&, double, c10::string_view,
                      double) {
  const std::vector<c10::SymInt> shape = {x.sym_size(0), groups == 0 ? x.sym_size(1) : c10::SymInt(groups)};
  const Tensor mean = x.new_empty_symint(shape, x.options().dtype(torch::kDouble));
  return {like(x), mean, at::empty_like(mean)};
}

Three group_norm_backward_meta(const Tensor&, const Tensor& x, int64_t, const MaybeTensor& weight, const MaybeTensor& bias,
                               const Tensor& mean, const Tensor&, double, c10::string_view, double) {
  return {like(x), parameter_like(weight, mean), parameter_like(bias, mean)};
}

Tensor feature_result_like(const Tensor& x, int64_t dims) {
  return dims > 0 ? at::empty_like(x, x.options(), at::MemoryFormat::Contiguous) : like(x);
}

Three feature_norm_meta(const Tensor& x, int64_t dims, const MaybeTensor&, const MaybeTensor&, double, bool rms,
                        c10::string_view, double) {
  const c10::SymIntArrayRef sizes = x.sym_sizes();
  std::vector<c10::SymInt> shape(sizes.begin(), sizes.end());
  if (dims > 0) {
    shape.erase(shape.end() - dims, shape.end());
  } else {
    shape.erase(shape.begin() + 1);
  }
  const auto options = x.options().dtype(x.scalar_type() == torch::kDouble ? torch::kDouble : torch::kFloat);
  const Tensor rstd = x.new_empty_symint(shape, options);
  return {feature_result_like(x, dims), rms ? rstd.new_empty({0}) : at::empty_like(rstd), rstd};
}

Three feature_norm_backward_meta(const Tensor&, const Tensor& x, int64_t dims, const MaybeTensor& weight,
                                 const MaybeTensor& bias, const Tensor&, const Tensor& rstd, double, bool,
                                 c10::string_view, double) {
  return {feature_result_like(x, dims), parameter_like(weight, rstd), parameter_like(bias, rstd)};
}

// ---- Autograd

// Inputs that may be absent are passed on as MaybeTensor: some versions of apply() refuse an undefined Tensor.

// A parameter's gradient as autograd wants it: none where there is no parameter.
Variable for_input(const Tensor& gradient, const Tensor& input) { return input.defined() ? gradient : Variable(); }

struct BatchNormFunction : torch::autograd::Function<BatchNormFunction> {
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const MaybeTensor& weight,
                               const MaybeTensor& bias, const MaybeTensor& running_mean, const MaybeTensor& running_var,
                               bool training, double eps, const std::string& act, double act_a) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [y, mean, var] = batch_norm_handle().call(x, weight, bias, running_mean, running_var, training, eps, act, act_a);
    ctx->save_for_backward({x, defined_or_none(weight), defined_or_none(bias), mean, var});
    ctx->saved_data["training"] = training;
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["act"] = act;
    ctx->saved_data["act_a"] = act_a;
    ctx->mark_non_differentiable({mean, var});
    ctx->set_materialize_grads(false);
    return {y, mean, var};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    variable_list result(9);
    if (!grads[0].defined()) return result;
    const variable_list saved = ctx->get_saved_variables();
    auto [dx, dweight, dbias] = batch_norm_backward_handle().call(
        grads[0], saved[0], optional_of(saved[1]), optional_of(saved[2]), saved[3], saved[4],
        ctx->saved_data["training"].toBool(), ctx->saved_data["eps"].toDouble(), ctx->saved_data["act"].toStringRef(),
        ctx->saved_data["act_a"].toDouble());
    result[0] = dx;
    result[1] = for_input(dweight, saved[1]);
    result[2] = for_input(dbias, saved[2]);
    return result;
  }
};

struct BatchNormAddFunction : torch::autograd::Function<BatchNormAddFunction> {
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const Tensor& residual,
                               const MaybeTensor& weight, const MaybeTensor& bias, const MaybeTensor& running_mean,
                               const MaybeTensor& running_var, bool training, double eps, const std::string& act,
                               double act_a) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [y, mean, var, mask] =
        batch_norm_add_handle().call(x, residual, weight, bias, running_mean, running_var, training, eps, act, act_a);
    ctx->save_for_backward({x, defined_or_none(weight), defined_or_none(bias), mean, var, mask});
    ctx->saved_data["training"] = training;
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["act"] = act;
    ctx->saved_data["act_a"] = act_a;
    ctx->mark_non_differentiable({mean, var, mask});
    ctx->set_materialize_grads(false);
    return {y, mean, var, mask};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    variable_list result(10);
    if (!grads[0].defined()) return result;
    const variable_list saved = ctx->get_saved_variables();
    auto [dx, dresidual, dweight, dbias] = batch_norm_add_backward_handle().call(
        grads[0], saved[0], saved[5], optional_of(saved[1]), optional_of(saved[2]), saved[3], saved[4],
        ctx->saved_data["training"].toBool(), ctx->saved_data["eps"].toDouble(), ctx->saved_data["act"].toStringRef(),
        ctx->saved_data["act_a"].toDouble());
    result[0] = dx;
    result[1] = dresidual;
    result[2] = for_input(dweight, saved[1]);
    result[3] = for_input(dbias, saved[2]);
    return result;
  }
};

struct GroupNormFunction : torch::autograd::Function<GroupNormFunction> {
  static variable_list forward(AutogradContext* ctx, const Tensor& x, int64_t groups, const MaybeTensor& weight,
                               const MaybeTensor& bias, double eps, const std::string& act, double act_a) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [y, mean, var] = group_norm_handle().call(x, groups, weight, bias, eps, act, act_a);
    ctx->save_for_backward({x, defined_or_none(weight), defined_or_none(bias), mean, var});
    ctx->saved_data["groups"] = groups;
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["act"] = act;
    ctx->saved_data["act_a"] = act_a;
    ctx->mark_non_differentiable({mean, var});
    ctx->set_materialize_grads(false);
    return {y, mean, var};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    variable_list result(7);
    if (!grads[0].defined()) return result;
    const variable_list saved = ctx->get_saved_variables();
    auto [dx, dweight, dbias] = group_norm_backward_handle().call(
        grads[0], saved[0], ctx->saved_data["groups"].toInt(), optional_of(saved[1]), optional_of(saved[2]), saved[3],
        saved[4], ctx->saved_data["eps"].toDouble(), ctx->saved_data["act"].toStringRef(),
        ctx->saved_data["act_a"].toDouble());
    result[0] = dx;
    result[2] = for_input(dweight, saved[1]);
    result[3] = for_input(dbias, saved[2]);
    return result;
  }
};

struct FeatureNormFunction : torch::autograd::Function<FeatureNormFunction> {
  static variable_list forward(AutogradContext* ctx, const Tensor& x, int64_t dims, const MaybeTensor& weight,
                               const MaybeTensor& bias, double eps, bool rms, const std::string& act, double act_a) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [y, mean, rstd] = feature_norm_handle().call(x, dims, weight, bias, eps, rms, act, act_a);
    ctx->save_for_backward({x, defined_or_none(weight), defined_or_none(bias), mean, rstd});
    ctx->saved_data["dims"] = dims;
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["rms"] = rms;
    ctx->saved_data["act"] = act;
    ctx->saved_data["act_a"] = act_a;
    ctx->mark_non_differentiable({mean, rstd});
    ctx->set_materialize_grads(false);
    return {y, mean, rstd};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    variable_list result(8);
    if (!grads[0].defined()) return result;
    const variable_list saved = ctx->get_saved_variables();
    auto [dx, dweight, dbias] = feature_norm_backward_handle().call(
        grads[0], saved[0], ctx->saved_data["dims"].toInt(), optional_of(saved[1]), optional_of(saved[2]), saved[3],
        saved[4], ctx->saved_data["eps"].toDouble(), ctx->saved_data["rms"].toBool(),
        ctx->saved_data["act"].toStringRef(), ctx->saved_data["act_a"].toDouble());
    result[0] = dx;
    result[2] = for_input(dweight, saved[1]);
    result[3] = for_input(dbias, saved[2]);
    return result;
  }
};

std::string text(c10::string_view s) { return {s.data(), s.size()}; }

Three batch_norm_autograd(const Tensor& x, const MaybeTensor& weight, const MaybeTensor& bias,
                          const MaybeTensor& running_mean, const MaybeTensor& running_var, bool training, double eps,
                          c10::string_view act, double act_a) {
  const variable_list r =
      BatchNormFunction::apply(x, weight, bias, running_mean, running_var, training, eps, text(act), act_a);
  return {r[0], r[1], r[2]};
}

Four batch_norm_add_autograd(const Tensor& x, const Tensor& residual, const MaybeTensor& weight, const MaybeTensor& bias,
                             const MaybeTensor& running_mean, const MaybeTensor& running_var, bool training, double eps,
                             c10::string_view act, double act_a) {
  const variable_list r = BatchNormAddFunction::apply(x, residual, weight, bias, running_mean, running_var, training, eps,
                                                      text(act), act_a);
  return {r[0], r[1], r[2], r[3]};
}

Three group_norm_autograd(const Tensor& x, int64_t groups, const MaybeTensor& weight, const MaybeTensor& bias, double eps,
                          c10::string_view act, double act_a) {
  const variable_list r = GroupNormFunction::apply(x, groups, weight, bias, eps, text(act), act_a);
  return {r[0], r[1], r[2]};
}

Three feature_norm_autograd(const Tensor& x, int64_t dims, const MaybeTensor& weight, const MaybeTensor& bias, double eps,
                            bool rms, c10::string_view act, double act_a) {
  const variable_list r = FeatureNormFunction::apply(x, dims, weight, bias, eps, rms, text(act), act_a);
  return {r[0], r[1], r[2]};
}

// Whether a gradient's own gradient is asked for: then LibTorch's operators compute it, which are differentiable.
template <class... T>
bool differentiated(const T&... tensors) {
  return at::GradMode::is_enabled() && ((tensors.defined() && tensors.requires_grad()) || ...);
}

// A tensor of its own that leads to t's graph, or that starts one.
Tensor entrance(const Tensor& t) {
  if (!t.defined()) return t;
  return t.requires_grad() ? t.view_as(t) : t.detach().requires_grad_();
}

// Gradients of f(x, weight, bias) dy by autograd, differentiable themselves.
template <class F>
Three composed_gradients(const Tensor& dy, const Tensor& given_x, const MaybeTensor& given_weight,
                         const MaybeTensor& given_bias, const Tensor& none, const F& f) {
  const Tensor x = entrance(given_x), weight = entrance(defined_or_none(given_weight)),
               bias = entrance(defined_or_none(given_bias));
  variable_list inputs = {x};
  if (weight.defined()) inputs.push_back(weight);
  if (bias.defined()) inputs.push_back(bias);
  const variable_list g =
      torch::autograd::grad({f(x, weight, bias)}, inputs, {dy}, /*retain_graph=*/true, /*create_graph=*/true);
  const Tensor empty = none.new_empty({0});
  return {g[0], weight.defined() ? g[1] : empty, bias.defined() ? g.back() : empty};
}

Three batch_norm_backward_autograd(const Tensor& dy, const Tensor& x, const MaybeTensor& weight, const MaybeTensor& bias,
                                   const Tensor& mean, const Tensor& var, bool training, double eps, c10::string_view act,
                                   double act_a) {
  if (differentiated(dy, x, defined_or_none(weight), defined_or_none(bias))) {
    return composed_gradients(dy, x, weight, bias, mean, [&](const Tensor& h, const Tensor& w, const Tensor& b) {
      return composed_batch_norm(h, {}, w, b, mean, var, training, eps, fused_of(act, act_a));
    });
  }
  at::AutoDispatchBelowADInplaceOrView guard;
  return batch_norm_backward_handle().call(dy, x, weight, bias, mean, var, training, eps, act, act_a);
}

Four batch_norm_add_backward_autograd(const Tensor& dy, const Tensor& x, const Tensor& mask, const MaybeTensor& weight,
                                      const MaybeTensor& bias, const Tensor& mean, const Tensor& var, bool training,
                                      double eps, c10::string_view act, double act_a) {
  if (differentiated(dy, x, defined_or_none(weight), defined_or_none(bias))) {
    // The slopes are piecewise constant: what is left is linear in dy.
    const Fused fused = fused_of(act, act_a);
    const Tensor g =
        fused.act == Act::none ? dy : dy * slopes_of_mask(mask, x.detach(), fused.act == Act::leaky_relu ? act_a : 0);
    auto [dx, dweight, dbias] =
        composed_gradients(g, x, weight, bias, mean, [&](const Tensor& h, const Tensor& w, const Tensor& b) {
          return composed_batch_norm(h, {}, w, b, mean, var, training, eps, {});
        });
    return {dx, g, dweight, dbias};
  }
  at::AutoDispatchBelowADInplaceOrView guard;
  return batch_norm_add_backward_handle().call(dy, x, mask, weight, bias, mean, var, training, eps, act, act_a);
}

Three group_norm_backward_autograd(const Tensor& dy, const Tensor& x, int64_t groups, const MaybeTensor& weight,
                                   const MaybeTensor& bias, const Tensor& mean, const Tensor& var, double eps,
                                   c10::string_view act, double act_a) {
  if (differentiated(dy, x, defined_or_none(weight), defined_or_none(bias))) {
    return composed_gradients(dy, x, weight, bias, mean, [&](const Tensor& h, const Tensor& w, const Tensor& b) {
      return composed_group_norm(h, groups == 0 ? x.size(1) : groups, w, b, eps, fused_of(act, act_a));
    });
  }
  at::AutoDispatchBelowADInplaceOrView guard;
  return group_norm_backward_handle().call(dy, x, groups, weight, bias, mean, var, eps, act, act_a);
}

Three feature_norm_backward_autograd(const Tensor& dy, const Tensor& x, int64_t dims, const MaybeTensor& weight,
                                     const MaybeTensor& bias, const Tensor& mean, const Tensor& rstd, double eps, bool rms,
                                     c10::string_view act, double act_a) {
  if (differentiated(dy, x, defined_or_none(weight), defined_or_none(bias))) {
    return composed_gradients(dy, x, weight, bias, rstd, [&](const Tensor& h, const Tensor& w, const Tensor& b) {
      return dims > 0 ? composed_layer_norm(h, dims, w, b, eps, rms, fused_of(act, act_a))
                      : composed_layer_norm_2d(h, w, b, eps, rms, fused_of(act, act_a));
    });
  }
  at::AutoDispatchBelowADInplaceOrView guard;
  return feature_norm_backward_handle().call(dy, x, dims, weight, bias, mean, rstd, eps, rms, act, act_a);
}

// ---- Autocast: norms keep the type of x, as their kernels sum in float32 whatever it is

Four batch_norm_add_autocast(const Tensor& x, const Tensor& residual, const MaybeTensor& weight, const MaybeTensor& bias,
                             const MaybeTensor& running_mean, const MaybeTensor& running_var, bool training, double eps,
                             c10::string_view act, double act_a) {
  c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::DispatchKey::AutocastCPU);
  return batch_norm_add_handle().call(x, residual.to(x.scalar_type()), weight, bias, running_mean, running_var, training,
                                      eps, act, act_a);
}

// ---- Forms without statistics

Tensor instance_norm_op(const Tensor& x, const MaybeTensor& weight, const MaybeTensor& bias, double eps,
                        c10::string_view act, double act_a) {
  return std::get<0>(group_norm_handle().call(x, 0, weight, bias, eps, act, act_a));
}
Tensor layer_norm_only(const Tensor& x, int64_t dims, const MaybeTensor& weight, const MaybeTensor& bias, double eps,
                       c10::string_view act, double act_a) {
  return std::get<0>(feature_norm_handle().call(x, dims, weight, bias, eps, false, act, act_a));
}
Tensor rms_norm_only(const Tensor& x, int64_t dims, const MaybeTensor& weight, double eps, c10::string_view act,
                     double act_a) {
  return std::get<0>(feature_norm_handle().call(x, dims, weight, {}, eps, true, act, act_a));
}
Tensor layer_norm_2d_only(const Tensor& x, const MaybeTensor& weight, const MaybeTensor& bias, double eps,
                          c10::string_view act, double act_a) {
  return std::get<0>(feature_norm_handle().call(x, 0, weight, bias, eps, false, act, act_a));
}
Tensor rms_norm_2d_only(const Tensor& x, const MaybeTensor& weight, double eps, c10::string_view act, double act_a) {
  return std::get<0>(feature_norm_handle().call(x, 0, weight, {}, eps, true, act, act_a));
}

}  // namespace

// ---- For the stems

Three batch_norm_op(const Tensor& x, const Tensor& residual, const Tensor& weight, const Tensor& bias,
                    const Tensor& running_mean, const Tensor& running_var, bool training, double eps, Fused fused) {
  if (!residual.defined()) {
    return batch_norm_handle().call(x, optional_of(weight), optional_of(bias), optional_of(running_mean),
                                    optional_of(running_var), training, eps, name_of(fused.act), fused.a);
  }
  auto [y, mean, var, mask] =
      batch_norm_add_handle().call(x, residual, optional_of(weight), optional_of(bias), optional_of(running_mean),
                                   optional_of(running_var), training, eps, name_of(fused.act), fused.a);
  return {y, mean, var};
}

Three group_norm_op(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, double eps, Fused fused) {
  return group_norm_handle().call(x, groups, optional_of(weight), optional_of(bias), eps, name_of(fused.act), fused.a);
}

Tensor layer_norm_op(const Tensor& x, int64_t dims, const Tensor& weight, const Tensor& bias, double eps, bool rms,
                     Fused fused) {
  return std::get<0>(feature_norm_handle().call(x, dims, optional_of(weight), optional_of(bias), eps, rms,
                                                name_of(fused.act), fused.a));
}

Tensor layer_norm_2d_op(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps, bool rms, Fused fused) {
  return layer_norm_op(x, 0, weight, bias, eps, rms, fused);
}

}  // namespace ballast::detail

#if TORCH_VERSION_MAJOR >= 2
#define BALLAST_OPERATOR_TAGS , {at::Tag::pt2_compliant_tag}
#else
#define BALLAST_OPERATOR_TAGS
#endif

TORCH_LIBRARY(ballast, m) {
  using namespace ballast::detail;
  m.def("batch_norm(Tensor x, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, bool training, "
        "float eps, str act='none', float act_a=0.01) -> (Tensor y, Tensor mean, Tensor var)" BALLAST_OPERATOR_TAGS);
  m.def("batch_norm_backward(Tensor dy, Tensor x, Tensor? weight, Tensor? bias, Tensor mean, Tensor var, bool training, "
        "float eps, str act='none', float act_a=0.01) -> (Tensor dx, Tensor dweight, Tensor dbias)" BALLAST_OPERATOR_TAGS);
  m.def("batch_norm_add(Tensor x, Tensor residual, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, "
        "bool training, float eps, str act='none', float act_a=0.01) -> (Tensor y, Tensor mean, Tensor var, Tensor mask)"
        BALLAST_OPERATOR_TAGS);
  m.def("batch_norm_add_backward(Tensor dy, Tensor x, Tensor mask, Tensor? weight, Tensor? bias, Tensor mean, Tensor var, "
        "bool training, float eps, str act='none', float act_a=0.01) -> (Tensor dx, Tensor dresidual, Tensor dweight, "
        "Tensor dbias)" BALLAST_OPERATOR_TAGS);
  m.def("group_norm(Tensor x, int num_groups, Tensor? weight, Tensor? bias, float eps, str act='none', float act_a=0.01) -> "
        "(Tensor y, Tensor mean, Tensor var)" BALLAST_OPERATOR_TAGS);
  m.def("group_norm_backward(Tensor dy, Tensor x, int num_groups, Tensor? weight, Tensor? bias, Tensor mean, Tensor var, "
        "float eps, str act='none', float act_a=0.01) -> (Tensor dx, Tensor dweight, Tensor dbias)" BALLAST_OPERATOR_TAGS);
  m.def("feature_norm(Tensor x, int dims, Tensor? weight, Tensor? bias, float eps, bool rms, str act='none', "
        "float act_a=0.01) -> (Tensor y, Tensor mean, Tensor rstd)" BALLAST_OPERATOR_TAGS);
  m.def("feature_norm_backward(Tensor dy, Tensor x, int dims, Tensor? weight, Tensor? bias, Tensor mean, Tensor rstd, "
        "float eps, bool rms, str act='none', float act_a=0.01) -> (Tensor dx, Tensor dweight, Tensor dbias)"
        BALLAST_OPERATOR_TAGS);
  m.def("instance_norm(Tensor x, Tensor? weight, Tensor? bias, float eps, str act='none', float act_a=0.01) -> Tensor"
        BALLAST_OPERATOR_TAGS);
  m.def("layer_norm(Tensor x, int dims, Tensor? weight, Tensor? bias, float eps, str act='none', float act_a=0.01) -> Tensor"
        BALLAST_OPERATOR_TAGS);
  m.def("rms_norm(Tensor x, int dims, Tensor? weight, float eps, str act='none', float act_a=0.01) -> Tensor"
        BALLAST_OPERATOR_TAGS);
  m.def("layer_norm_2d(Tensor x, Tensor? weight, Tensor? bias, float eps, str act='none', float act_a=0.01) -> Tensor"
        BALLAST_OPERATOR_TAGS);
  m.def("rms_norm_2d(Tensor x, Tensor? weight, float eps, str act='none', float act_a=0.01) -> Tensor"
        BALLAST_OPERATOR_TAGS);
  m.impl("instance_norm", &instance_norm_op);
  m.impl("layer_norm", &layer_norm_only);
  m.impl("rms_norm", &rms_norm_only);
  m.impl("layer_norm_2d", &layer_norm_2d_only);
  m.impl("rms_norm_2d", &rms_norm_2d_only);
}

TORCH_LIBRARY_IMPL(ballast, CPU, m) {
  using namespace ballast::detail;
  m.impl("batch_norm", &batch_norm_on_cpu);
  m.impl("batch_norm_backward", &batch_norm_backward_on_cpu);
  m.impl("batch_norm_add", &batch_norm_add_on_cpu);
  m.impl("batch_norm_add_backward", &batch_norm_add_backward_on_cpu);
  m.impl("group_norm", &group_norm_on_cpu);
  m.impl("group_norm_backward", &group_norm_backward_on_cpu);
  m.impl("feature_norm", &feature_norm_on_cpu);
  m.impl("feature_norm_backward", &feature_norm_backward_on_cpu);
}

TORCH_LIBRARY_IMPL(ballast, Meta, m) {
  using namespace ballast::detail;
  m.impl("batch_norm", &batch_norm_meta);
  m.impl("batch_norm_backward", &batch_norm_backward_meta);
  m.impl("batch_norm_add", &batch_norm_add_meta);
  m.impl("batch_norm_add_backward", &batch_norm_add_backward_meta);
  m.impl("group_norm", &group_norm_meta);
  m.impl("group_norm_backward", &group_norm_backward_meta);
  m.impl("feature_norm", &feature_norm_meta);
  m.impl("feature_norm_backward", &feature_norm_backward_meta);
}

TORCH_LIBRARY_IMPL(ballast, Autograd, m) {
  using namespace ballast::detail;
  m.impl("batch_norm", &batch_norm_autograd);
  m.impl("batch_norm_backward", &batch_norm_backward_autograd);
  m.impl("batch_norm_add", &batch_norm_add_autograd);
  m.impl("batch_norm_add_backward", &batch_norm_add_backward_autograd);
  m.impl("group_norm", &group_norm_autograd);
  m.impl("group_norm_backward", &group_norm_backward_autograd);
  m.impl("feature_norm", &feature_norm_autograd);
  m.impl("feature_norm_backward", &feature_norm_backward_autograd);
}

TORCH_LIBRARY_IMPL(ballast, AutocastCPU, m) {
  m.impl("batch_norm_add", &ballast::detail::batch_norm_add_autocast);
}
