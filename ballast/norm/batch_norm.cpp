#include <ballast/norm/batch_norm.h>

#include <ostream>
#include <vector>

#include <ballast/base/check.h>
#include <ballast/norm/channel_state.h>
#include <ballast/norm/moment_observer.h>
#include <ballast/norm/norm_input.h>
#include <ballast/norm/ops.h>

namespace ballast {
namespace {

void check_options(const BatchNormOptions& options) {
  detail::check_eps_and_act("batch_norm", options.eps, options.act);
  check(!options.momentum || (*options.momentum >= 0 && *options.momentum <= 1), "batch_norm",
        "momentum must be in [0, 1], got ", options.momentum.value_or(0));
  check(options.ghost >= 0, "batch_norm", "ghost must be >= 0, got ", options.ghost);
}

struct Input {
  const torch::Tensor &x, &residual, &weight, &bias, &running_mean, &running_var;
};

BatchNormResult run(const Input& in, bool training, const BatchNormOptions& options) {
  BatchNormResult r;
  std::tie(r.y, r.mean, r.var) =
      detail::batch_norm_op(in.x, in.residual, in.weight, in.bias, in.running_mean, in.running_var, training, options.eps,
                            {options.act, options.act_a});
  return r;
}

// Groups of rows alone; the moments pooled over groups of different sizes.
BatchNormResult run_ghost(const Input& in, const BatchNormOptions& options) {
  const int64_t rows = in.x.size(0), positions = detail::values_per_channel(in.x) / rows;
  std::vector<torch::Tensor> ys;
  torch::Tensor mean, m2;
  int64_t seen = 0;
  for (int64_t start = 0; start < rows;) {
    int64_t size = std::min(options.ghost, rows - start);
    if ((rows - start - size) * positions == 1) size += 1;
    const auto part = [&](const torch::Tensor& t) { return t.defined() ? t.narrow(0, start, size) : t; };
    const BatchNormResult r = run({part(in.x), part(in.residual), in.weight, in.bias, {}, {}}, true, options);
    ys.push_back(r.y);
    const int64_t n = size * positions;
    if (seen == 0) {
      mean = r.mean;
      m2 = r.var * n;
    } else {
      const torch::Tensor d = r.mean - mean;
      const double share = static_cast<double>(n) / static_cast<double>(seen + n);
      mean = mean + d * share;
      m2 = m2 + r.var * n + d.square() * (share * static_cast<double>(seen));
    }
    seen += n;
    start += size;
  }
  return {at::cat(ys), mean, m2 / seen};
}

BatchNormResult batch_norm_any(const Input& in, bool training, const BatchNormOptions& options) {
  const int64_t channels = options.num_features;
  check_options(options);
  detail::check_channels("batch_norm", in.x, channels);
  detail::check_parameter("batch_norm", "weight", in.weight, {channels});
  detail::check_parameter("batch_norm", "bias", in.bias, {channels});
  detail::check_parameter("batch_norm", "running_mean", in.running_mean, {channels});
  detail::check_parameter("batch_norm", "running_var", in.running_var, {channels});
  if (in.residual.defined()) {
    if (in.residual.sizes() != in.x.sizes()) {
      fail("batch_norm", "residual must have the shape of x, got ", detail::shape_text(in.x), " and ",
           detail::shape_text(in.residual));
    }
    check(options.act != Act::silu && options.act != Act::hardswish, "batch_norm",
          "act before which a residual is added must be one of none, relu, relu6, leaky_relu, got ", act_name(options.act));
  }
  const bool has_running = in.running_mean.defined() && in.running_var.defined();
  if (!training) {
    check(has_running, "batch_norm", "eval needs running statistics, got none");
    return run(in, false, options);
  }
  const int64_t values = detail::values_per_channel(in.x);
  if (values == 1) {
    if (options.single == SingleValue::error || !has_running) {
      fail("batch_norm", "x must have more than 1 value per channel in training, got ", detail::shape_text(in.x));
    }
    return run(in, false, options);
  }
  if (options.ghost > 0 && options.ghost < in.x.size(0)) {
    const int64_t positions = values / in.x.size(0);
    check(options.ghost * positions > 1, "batch_norm", "a ghost batch must have more than 1 value per channel, got ghost ",
          options.ghost, " and ", detail::shape_text(in.x));
    return run_ghost(in, options);
  }
  return run(in, true, options);
}

// running <- (1 - weight) running + weight stat scale, where nothing of it is differentiated.
void move_towards(torch::Tensor running, const torch::Tensor& stat, double weight, double scale) {
  if (running.device().is_cpu() && running.scalar_type() == torch::kFloat && running.is_contiguous()) {
    float* r = running.data_ptr<float>();
    const double* s = stat.data_ptr<double>();
    for (int64_t i = 0; i < running.numel(); ++i) r[i] = static_cast<float>(r[i] + weight * (s[i] * scale - r[i]));
    running.unsafeGetTensorImpl()->bump_version();
    return;
  }
  running.add_((stat * scale - running).mul_(weight).to(running.scalar_type()));
}

}  // namespace

BatchNormResult batch_norm(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                           const torch::Tensor& running_mean, const torch::Tensor& running_var, bool training,
                           const BatchNormOptions& options) {
  return batch_norm_any({x, {}, weight, bias, running_mean, running_var}, training, options);
}

BatchNormResult batch_norm_add(const torch::Tensor& x, const torch::Tensor& residual, const torch::Tensor& weight,
                               const torch::Tensor& bias, const torch::Tensor& running_mean,
                               const torch::Tensor& running_var, bool training, const BatchNormOptions& options) {
  check(residual.defined(), "batch_norm", "residual must be a tensor, got none");
  return batch_norm_any({x, residual, weight, bias, running_mean, running_var}, training, options);
}

torch::Tensor batch_norm_tracked(const torch::Tensor& x, const torch::Tensor& residual, const torch::Tensor& weight,
                                 const torch::Tensor& bias, const RunningStats& running, bool training,
                                 const BatchNormOptions& options) {
  const bool tracked = running.mean.defined();
  const auto* observer = detail::MomentObserver::current();
  if (observer != nullptr && !training && tracked) {
    BatchNormOptions whole = options;
    whole.ghost = 0;
    const BatchNormResult r = batch_norm_any({x, residual, weight, bias, {}, {}}, /*training=*/true, whole);
    (*observer)(running.mean, running.var, detail::values_per_channel(x), r.mean, r.var);
    return r.y;
  }
  const BatchNormResult r =
      batch_norm_any({x, residual, weight, bias, running.mean, running.var}, training || !tracked, options);
  const int64_t values = detail::values_per_channel(x);
  if (training && tracked && values > 1) {
    torch::NoGradGuard no_grad;
    running.num_batches_tracked.add_(1);
    const double weight_of_new =
        options.momentum ? *options.momentum : 1 / running.num_batches_tracked.item().to<double>();
    move_towards(running.mean, r.mean, weight_of_new, 1);
    move_towards(running.var, r.var, weight_of_new, static_cast<double>(values) / static_cast<double>(values - 1));
  }
  return r.y;
}

BatchNormImpl::BatchNormImpl(BatchNormOptions given) : options(given) {
  check(options.num_features >= 1, "batch_norm", "num_features must be >= 1, got ", options.num_features);
  check_options(options);
  reset();
}

void BatchNormImpl::reset() { detail::register_channel_state(*this, options); }

torch::Tensor BatchNormImpl::forward(const torch::Tensor& x) {
  return batch_norm_tracked(x, {}, weight, bias, {running_mean, running_var, num_batches_tracked}, is_training(), options);
}

torch::Tensor BatchNormImpl::forward_add(const torch::Tensor& x, const torch::Tensor& residual) {
  return batch_norm_tracked(x, residual, weight, bias, {running_mean, running_var, num_batches_tracked}, is_training(),
                            options);
}

void BatchNormImpl::pretty_print(std::ostream& stream) const {
  stream << "ballast::BatchNorm(" << options.num_features;
  if (options.act != Act::none) stream << ", " << act_name(options.act);
  stream << ')';
}

}  // namespace ballast
