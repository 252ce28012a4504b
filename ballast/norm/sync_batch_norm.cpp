#include <ballast/norm/sync_batch_norm.h>

#include <ostream>
#include <vector>

#include <torch/csrc/autograd/custom_function.h>

#include <ballast/base/check.h>
#include <ballast/norm/activate.h>
#include <ballast/norm/channel_ops.h>
#include <ballast/norm/channel_state.h>
#include <ballast/norm/norm_input.h>

namespace ballast {
namespace {

// Of one channel or of all, merged in the order given.
struct Merged {
  int64_t count = 0;
  torch::Tensor mean, var;  // (C), float64
};

torch::optional<torch::Tensor> optional_of(const torch::Tensor& t) {
  return t.defined() ? torch::optional<torch::Tensor>(t) : torch::nullopt;
}

std::vector<int64_t> dims_but_channels(const torch::Tensor& x) {
  std::vector<int64_t> dims = detail::position_dims(x);
  dims.insert(dims.begin(), 0);
  return dims;
}

// count, mean and M2 of each channel: 1 + 2 C numbers.
torch::Tensor own_moments(const torch::Tensor& x) {
  const int64_t channels = x.size(1);
  torch::Tensor moments = torch::zeros({1 + 2 * channels}, torch::kDouble);
  if (x.numel() == 0) return moments;
  const auto [var, mean] = at::var_mean(x.to(torch::kDouble), dims_but_channels(x), /*unbiased=*/false);
  const double count = static_cast<double>(x.numel() / channels);
  moments[0] = count;
  moments.narrow(0, 1, channels).copy_(mean);
  moments.narrow(0, 1 + channels, channels).copy_(var * count);
  return moments;
}

Merged merge(const torch::Tensor& all, int64_t channels) {
  const torch::Tensor rows = all.to(torch::kCPU, torch::kDouble).contiguous();
  torch::Tensor mean = torch::zeros({channels}, torch::kDouble), m2 = torch::zeros({channels}, torch::kDouble);
  double count = 0;
  for (int64_t r = 0; r < rows.size(0); ++r) {
    const double* row = rows.data_ptr<double>() + r * (1 + 2 * channels);
    const double n = row[0];
    if (n == 0) continue;
    double *m = mean.data_ptr<double>(), *s = m2.data_ptr<double>();
    for (int64_t c = 0; c < channels; ++c) {
      const double delta = row[1 + c] - m[c];
      m[c] += delta * (n / (count + n));
      s[c] += row[1 + channels + c] + delta * delta * (count * n / (count + n));
    }
    count += n;
  }
  return {static_cast<int64_t>(count), mean, count > 0 ? m2 / count : m2};
}

// y = gamma (x - mean) is + beta. gather outlives the backward pass: its owner is the module.
struct SyncNormalize : torch::autograd::Function<SyncNormalize> {
  // LibTorch 1.13 takes tensors that may be undefined as optional ones only.
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x,
                               const torch::optional<torch::Tensor>& weight_or_none,
                               const torch::optional<torch::Tensor>& bias_or_none, const torch::Tensor& mean,
                               const torch::Tensor& is, int64_t count, int64_t gather) {
    const torch::Tensor weight = weight_or_none.value_or(torch::Tensor()), bias = bias_or_none.value_or(torch::Tensor());
    context->save_for_backward({x, weight, mean, is});
    context->saved_data["count"] = count;
    context->saved_data["gather"] = gather;
    context->saved_data["affine"] = weight.defined();
    const torch::Tensor z = detail::in_compute_type(x);
    torch::Tensor scale = is;
    if (weight.defined()) scale = scale * weight.to(torch::kDouble);
    torch::Tensor y = (z - detail::per_channel(mean, z)).mul_(detail::per_channel(scale, z));
    if (bias.defined()) y.add_(detail::per_channel(bias, z));
    return detail::in_form_of(x, y);
  }

  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context,
                                               torch::autograd::tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const torch::Tensor &x = saved[0], &weight = saved[1], &mean = saved[2], &is = saved[3];
    const double count = static_cast<double>(context->saved_data["count"].toInt());
    auto* gather = reinterpret_cast<Gather*>(static_cast<intptr_t>(context->saved_data["gather"].toInt()));
    const torch::Tensor z = detail::in_compute_type(x), g = detail::in_compute_type(gradients[0]);
    const std::vector<int64_t> dims = dims_but_channels(x);
    const torch::Tensor centered = z - detail::per_channel(mean, z);
    const torch::Tensor sum_g = at::sum(g, dims, /*keepdim=*/false, torch::kDouble);
    const torch::Tensor sum_gx = at::sum(g * centered, dims, false, torch::kDouble) * is;
    const torch::Tensor all = gather->all_gather(at::cat({sum_g, sum_gx})).to(torch::kDouble);
    torch::Tensor total = torch::zeros_like(all[0]);
    for (int64_t r = 0; r < all.size(0); ++r) total.add_(all[r]);
    const int64_t channels = x.size(1);
    const torch::Tensor mean_g = total.narrow(0, 0, channels) / count;
    const torch::Tensor mean_gx = total.narrow(0, channels, channels) / count;
    torch::Tensor scale = is;
    if (weight.defined()) scale = scale * weight.to(torch::kDouble);
    torch::Tensor dx = g - detail::per_channel(mean_g, z);
    dx = at::addcmul(dx, centered, detail::per_channel(is * mean_gx, z), -1).mul_(detail::per_channel(scale, z));
    torch::Tensor dweight, dbias;
    if (context->saved_data["affine"].toBool()) {
      dweight = sum_gx.to(weight.scalar_type());
      dbias = sum_g.to(weight.scalar_type());
    }
    return {detail::in_form_of(x, dx), dweight, dbias, {}, {}, {}, {}};
  }
};

}  // namespace

SyncBatchNormResult sync_batch_norm(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                    Gather& gather, const BatchNormOptions& options) {
  const int64_t channels = options.num_features;
  detail::check_channels("sync_batch_norm", x, channels);
  detail::check_eps_and_act("sync_batch_norm", options.eps, options.act);
  detail::check_parameter("sync_batch_norm", "weight", weight, {channels});
  detail::check_parameter("sync_batch_norm", "bias", bias, {channels});
  torch::Tensor all;
  {
    torch::NoGradGuard no_grad;
    all = gather.all_gather(own_moments(x.detach()));
  }
  check<std::runtime_error>(all.dim() == 2 && all.size(0) == gather.world() && all.size(1) == 1 + 2 * channels,
                            "sync_batch_norm", "all_gather must give (", gather.world(), ", ", 1 + 2 * channels, "), got ",
                            detail::shape_text(all));
  const Merged merged = merge(all, channels);
  if (merged.count == 1) {
    fail("sync_batch_norm", "x must have more than 1 value per channel in training, got 1 on all ranks together");
  }
  const torch::Tensor is = (merged.var + options.eps).rsqrt();
  torch::Tensor y = SyncNormalize::apply(x, optional_of(weight), optional_of(bias), merged.mean, is, std::max<int64_t>(1, merged.count),
                                         static_cast<int64_t>(reinterpret_cast<intptr_t>(&gather)));
  y = activate(y, options.act, options.act_a);
  return {y, merged.mean, merged.var, merged.count};
}

torch::Tensor sync_batch_norm_tracked(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                      const RunningStats& running, bool training, Gather* gather,
                                      const BatchNormOptions& options) {
  if (!training || gather == nullptr || gather->world() == 1) {
    return batch_norm_tracked(x, {}, weight, bias, running, training, options);
  }
  const SyncBatchNormResult r = sync_batch_norm(x, weight, bias, *gather, options);
  if (running.mean.defined() && r.count > 1) {
    torch::NoGradGuard no_grad;
    running.num_batches_tracked.add_(1);
    const double share = options.momentum ? *options.momentum : 1 / running.num_batches_tracked.item().to<double>();
    const double unbias = static_cast<double>(r.count) / static_cast<double>(r.count - 1);
    const auto move = [share](torch::Tensor to, const torch::Tensor& stat) {
      to.copy_(at::lerp(to.to(torch::kDouble), stat.to(to.device()), share));
    };
    move(running.mean, r.mean);
    move(running.var, r.var * unbias);
  }
  return r.y;
}

SyncBatchNormImpl::SyncBatchNormImpl(BatchNormOptions given, std::shared_ptr<Gather> group)
    : options(given), gather(std::move(group)) {
  check(options.num_features >= 1, "sync_batch_norm", "num_features must be >= 1, got ", options.num_features);
  check(options.eps > 0, "sync_batch_norm", "eps must be > 0, got ", options.eps);
  check(options.ghost == 0, "sync_batch_norm", "ghost must be 0, got ", options.ghost);
  reset();
}

void SyncBatchNormImpl::reset() { detail::register_channel_state(*this, options); }

torch::Tensor SyncBatchNormImpl::forward(const torch::Tensor& x) {
  return sync_batch_norm_tracked(x, weight, bias, {running_mean, running_var, num_batches_tracked}, is_training(),
                                 gather.get(), options);
}

void SyncBatchNormImpl::pretty_print(std::ostream& stream) const {
  stream << "ballast::SyncBatchNorm(" << options.num_features << ", world " << (gather ? gather->world() : 1) << ')';
}

}  // namespace ballast
