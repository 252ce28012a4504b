#include <ballast/train/trainer.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <map>

#include <ATen/Functions.h>
#include <torch/cuda.h>
#include <torch/nn/module.h>

#include <ballast/base/check.h>
#include <ballast/base/step_scope.h>
#include <ballast/loss/bce.h>
#include <ballast/loss/cross_entropy.h>
#include <ballast/loss/distill.h>
#include <ballast/loss/focal.h>
#include <ballast/probe/observer.h>
#include <ballast/train/autocast.h>

namespace ballast {
namespace {

std::vector<NamedParameter> named_parameters(const torch::nn::Module& module) {
  std::vector<NamedParameter> all;
  for (const auto& p : module.named_parameters()) {
    all.push_back({p.key(), p.value()});
  }
  return all;
}

torch::Device device_of(const torch::nn::Module& module) {
  const auto parameters = module.parameters();
  check(!parameters.empty(), "trainer", "module must have parameters, got none");
  return parameters.front().device();
}

torch::Tensor summed_loss(const torch::Tensor& logits, const torch::Tensor& target, const TrainerOptions& o) {
  switch (o.loss) {
    case LossName::bce:
      return bce_with_logits(logits, at::one_hot(target, logits.size(1)).to(logits.scalar_type()),
                             {.label_smoothing = o.label_smoothing, .per_class = true, .reduction = Reduction::sum});
    case LossName::focal:
      return focal_loss(logits, target,
                        {.gamma = o.focal_gamma, .label_smoothing = o.label_smoothing, .reduction = Reduction::sum});
    default:
      return at::cross_entropy_loss(logits, target, {}, at::Reduction::Sum, -100, o.label_smoothing);
  }
}

/// The loss of samples that are lam of class a and 1 - lam of class b.
torch::Tensor summed_mixed_loss(const torch::Tensor& logits, const torch::Tensor& a, const torch::Tensor& b,
                                const torch::Tensor& lam, const TrainerOptions& o) {
  if (o.loss == LossName::cross_entropy) {
    return cross_entropy(logits, MixTarget{a, b, lam},
                         {.label_smoothing = o.label_smoothing, .reduction = Reduction::sum});
  }
  const torch::Tensor share = lam.to(logits.scalar_type()).unsqueeze(1);
  const auto one_hot = [&](const torch::Tensor& y) { return at::one_hot(y, logits.size(1)).to(logits.scalar_type()); };
  const torch::Tensor target = share * one_hot(a) + (1 - share) * one_hot(b);
  if (o.loss == LossName::bce) {
    return bce_with_logits(logits, target,
                           {.label_smoothing = o.label_smoothing, .per_class = true, .reduction = Reduction::sum});
  }
  return focal_loss(logits, target,
                    {.gamma = o.focal_gamma, .label_smoothing = o.label_smoothing, .reduction = Reduction::sum});
}

bool is_finite(const torch::Tensor& t) {
  return !t.defined() || !t.is_floating_point() || at::isfinite(t).all().item<bool>();
}

class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace

Trainer::Trainer(torch::nn::Module& module, Forward forward, TrainerOptions options)
    : module_(module),
      forward_(std::move(forward)),
      options_(std::move(options)),
      optimizer_(named_parameters(module), options_.optimizer),
      device_(device_of(module)) {
  check(options_.total_steps >= 1, "trainer", "total_steps must be at least 1, got ", options_.total_steps);
  check(options_.micro_batch >= 0, "trainer", "micro_batch must be >= 0, got ", options_.micro_batch);
  check(options_.label_smoothing >= 0 && options_.label_smoothing <= 1, "trainer", "label_smoothing must be in [0, 1], got ",
        options_.label_smoothing);
  check(options_.focal_gamma >= 0, "trainer", "focal_gamma must be >= 0, got ", options_.focal_gamma);
  check(options_.distill_alpha >= 0 && options_.distill_alpha <= 1, "trainer",
        "distill_alpha must be in [0, 1], got ", options_.distill_alpha);
  check(options_.clip == ClipMode::off || options_.clip_limit > 0, "trainer", "clip_limit must be > 0, got ",
        options_.clip_limit);
  if (options_.label_sets.defined()) {
    check(options_.loss == LossName::bce, "trainer", "loss must be bce for several labels a picture, got another");
    check(!options_.teacher, "trainer", "a teacher must be of one label a picture, got several");
    check(options_.label_sets.dim() == 2, "trainer", "label_sets must have two dimensions, got ", options_.label_sets.dim());
    options_.label_sets = options_.label_sets.to(device_);
  }
  check_lr_schedule(options_.schedule);
  buffers_ = module.buffers();
  for (const torch::Tensor& b : buffers_) {
    saved_.push_back(b.detach().clone());
  }
}

StepResult Trainer::step(const torch::Tensor& x, const torch::Tensor& y, const torch::Tensor& partner,
                         const torch::Tensor& lam) {
  const int64_t n = x.size(0);
  check(y.dim() == 1 && y.size(0) == n, "trainer", "y must have one label for each of ", n, " samples, got ", y.numel());
  StepResult result;
  const bool held = options_.hold_from >= 0 && t_ >= options_.hold_from;
  result.lr = lr_scale_ * (held ? options_.hold_lr : lr_at(options_.schedule, t_, options_.total_steps));
  const bool sgd = options_.optimizer.name == "sgd";
  result.momentum = momentum_at(options_.schedule, t_, options_.total_steps,
                                sgd ? options_.optimizer.momentum : options_.optimizer.beta1);
  Stopwatch watch;
  {
    torch::NoGradGuard no_grad;
    for (size_t i = 0; i < buffers_.size(); ++i) {
      saved_[i].copy_(buffers_[i]);
    }
  }
  for (int64_t m = 0; m < parts(n); ++m) {
    const Part part = part_of(m, x, y, partner, lam);
    const StepScope scope(options_.seed, attempt_, static_cast<uint64_t>(t_), part.begin);
    const torch::Tensor loss = loss_of(autocast_forward(part.x), part).div(static_cast<double>(n));
    result.loss += loss.item<double>();
    result.forward += watch.lap();
    loss.backward();
    result.backward += watch.lap();
  }
  result.gradient_norm = optimizer_.gradient_norm();
  if (!std::isfinite(result.loss) || !std::isfinite(result.gradient_norm)) {
    restore_buffers();
    optimizer_.zero_grad();
    result.finite = false;
    return result;
  }
  double scale = 1;
  if (options_.clip == ClipMode::norm) {
    scale = std::min(1.0, options_.clip_limit / (result.gradient_norm + 1e-6));
    result.clipped = scale < 1;
  } else if (options_.clip == ClipMode::value) {
    optimizer_.clip_values(options_.clip_limit);
    result.clipped = result.gradient_norm > options_.clip_limit;
  } else if (options_.clip == ClipMode::agc) {
    result.clipped = optimizer_.clip_units(options_.clip_limit, options_.head);
  }
  const bool cycles = options_.schedule.name == LrScheduleName::one_cycle;
  optimizer_.step(result.lr, scale, cycles ? std::optional<double>(result.momentum) : std::nullopt);
  optimizer_.zero_grad();
  ++t_;
  result.optimizer = watch.lap();
  return result;
}

int64_t Trainer::parts(int64_t n) const {
  const int64_t rows = options_.micro_batch == 0 ? n : std::min(n, options_.micro_batch);
  return (n + rows - 1) / rows;
}

Trainer::Part Trainer::part_of(int64_t m, const torch::Tensor& x, const torch::Tensor& y, const torch::Tensor& partner,
                               const torch::Tensor& lam) const {
  const int64_t n = x.size(0), count = parts(n);
  // Parts of nearly equal size: a part of one would have no batch statistics.
  const int64_t begin = m * n / count, end = (m + 1) * n / count;
  const auto rows_of = [&](const torch::Tensor& t) {
    const torch::Tensor rows = count == 1 || !t.defined() ? t : t.slice(0, begin, end);
    return rows.defined() && !device_.is_cpu() ? rows.to(device_, /*non_blocking=*/true) : rows;
  };
  return {begin, rows_of(x), rows_of(y), rows_of(partner), rows_of(lam)};
}

torch::Tensor Trainer::hard_loss(const torch::Tensor& logits, const Part& part) const {
  if (options_.label_sets.defined()) {
    return bce_with_logits(logits, label_targets(part).to(logits.scalar_type()),
                           {.label_smoothing = options_.label_smoothing, .reduction = Reduction::sum});
  }
  return part.partner.defined() ? summed_mixed_loss(logits, part.y, part.partner, part.lam, options_)
                                : summed_loss(logits, part.y, options_);
}

/// (n, K): what the samples' sets of labels make of each class.
torch::Tensor Trainer::label_targets(const Part& part) const {
  const torch::Tensor own = options_.label_sets.index_select(0, part.y);
  if (!part.partner.defined()) {
    return own;
  }
  const torch::Tensor other = options_.label_sets.index_select(0, part.partner);
  const torch::Tensor share = part.lam.to(own.scalar_type()).unsqueeze(1);
  if (options_.mix_union) {  // of pictures of which something is there
    return at::maximum(own * (share > 0).to(own.scalar_type()), other * (share < 1).to(own.scalar_type()));
  }
  return share * own + (1 - share) * other;
}

torch::Tensor Trainer::loss_of(const torch::Tensor& logits, const Part& part) const {
  const torch::Tensor hard = hard_loss(logits, part);
  if (!options_.teacher || options_.distill_alpha == 0) {
    return hard;
  }
  const torch::Tensor soft =
      distill(logits, options_.teacher(part.x).to(logits.options()),
              {.temperature = options_.distill_temperature, .reduction = Reduction::sum});
  return (1 - options_.distill_alpha) * hard + options_.distill_alpha * soft;
}

void Trainer::restore_buffers() {
  torch::NoGradGuard no_grad;
  for (size_t i = 0; i < buffers_.size(); ++i) {
    buffers_[i].copy_(saved_[i]);
  }
}

NonFiniteOrigin Trainer::find_non_finite(const torch::Tensor& x, const torch::Tensor& y, const torch::Tensor& partner,
                                         const torch::Tensor& lam) {
  if (!is_finite(x)) {
    return {.pass = "input", .op = "", .layer = ""};
  }
  std::map<const void*, std::string> owners;  // by storage
  for (const auto& p : module_.named_parameters()) {
    if (!is_finite(p.value())) {
      return {.pass = "weights", .op = "", .layer = p.key()};
    }
    owners.emplace(p.value().storage().unsafeGetStorageImpl(), p.key().substr(0, p.key().rfind('.')));
  }
  NonFiniteOrigin origin;
  std::vector<std::string> order;  // layers as the forward pass meets them
  for (int64_t m = 0; m < parts(x.size(0)) && origin.pass.empty(); ++m) {
    const Part part = part_of(m, x, y, partner, lam);
    const StepScope scope(options_.seed, attempt_, static_cast<uint64_t>(t_), part.begin);
    torch::Tensor logits;
    observe([&] { logits = autocast_forward(part.x); },
            [&](const ObservedOp& op) {
              for (const torch::Tensor& in : input_tensors(op)) {
                const auto owner = in.defined() && in.has_storage() ? owners.find(in.storage().unsafeGetStorageImpl()) : owners.end();
                if (owner != owners.end() && (order.empty() || order.back() != owner->second)) {
                  order.push_back(owner->second);
                }
              }
              const bool bad = std::ranges::any_of(op.outputs, [](const torch::Tensor& out) { return !is_finite(out); });
              if (bad && origin.pass.empty()) {
                origin = {.pass = "forward", .op = op.name, .layer = order.empty() ? "" : order.back()};
              }
            });
    if (!origin.pass.empty()) {
      break;
    }
    const torch::Tensor loss = loss_of(logits, part);
    if (!is_finite(loss)) {
      origin = {.pass = "loss", .op = "", .layer = ""};
      break;
    }
    loss.backward();
  }
  // Gradients arise from the last layer to the first.
  for (auto layer = order.rbegin(); layer != order.rend() && origin.pass.empty(); ++layer) {
    for (const auto& p : module_.named_parameters()) {
      if (p.key().substr(0, p.key().rfind('.')) == *layer && !is_finite(p.value().grad())) {
        origin = {.pass = "backward", .op = "", .layer = *layer};
        break;
      }
    }
  }
  optimizer_.zero_grad();
  restore_buffers();
  return origin;
}

std::string NonFiniteOrigin::text() const {
  const std::string at = op + (op.empty() || layer.empty() ? "" : " of ") + layer;
  return pass.empty()       ? ""
         : pass == "input"   ? "the pictures themselves are not finite"
         : pass == "weights" ? "the weights of " + layer + " are not finite"
         : pass == "loss"    ? "first in the loss"
                             : "first in the " + pass + " pass, " + at;
}

torch::Tensor Trainer::autocast_forward(const torch::Tensor& x) const {
  if (!options_.bf16) {
    return forward_(x);
  }
  const Bf16Autocast autocast(device_.type());
  return forward_(x).to(torch::kFloat);
}

void Trainer::restore(int64_t steps, const StateDict& optimizer_state, const std::string& label) {
  optimizer_.restore(steps, optimizer_state, label);
  t_ = steps;
}

void to_channels_last(torch::nn::Module& module) {
  torch::NoGradGuard no_grad;
  for (torch::Tensor& p : module.parameters()) {
    if (p.dim() == 4) {
      p.set_data(p.contiguous(torch::MemoryFormat::ChannelsLast));
    }
  }
}

WeightsCopy::WeightsCopy(const torch::nn::Module& module) {
  for (const auto& [name, tensor] : state_dict(module)) {
    tensors_.emplace(name, tensor.clone());
  }
}

WeightsCopy::WeightsCopy(const torch::nn::Module& module, const StateDict& from, const std::string& label)
    : WeightsCopy(module) {
  copy_into(tensors_, from, label);
}

void WeightsCopy::restore(torch::nn::Module& module) const { copy_into(module, tensors_, "copy"); }

bool WeightsCopy::finite() const {
  return std::all_of(tensors_.begin(), tensors_.end(), [](const auto& named) {
    return !named.second.is_floating_point() || at::isfinite(named.second).all().template item<bool>();
  });
}

torch::Device find_device(const std::string& name) {
  const auto count = static_cast<int64_t>(torch::cuda::device_count());
  if (name == "cpu") {
    return torch::kCPU;
  }
  if (name == "auto") {
    return count > 0 ? torch::Device(torch::kCUDA, 0) : torch::Device(torch::kCPU);
  }
  int64_t index = 0;
  bool known = name == "cuda";
  if (name.rfind("cuda:", 0) == 0) {
    const char* end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(name.data() + 5, end, index);
    known = error == std::errc() && stop == end && index >= 0;
  }
  check(known, "device", "name must be auto, cpu, cuda or cuda:N, got \"", name, "\"");
  check(index < count, "device", name, " must be a device of this machine, got ",
        count == 0 ? std::string("no CUDA device that this LibTorch can use") : std::to_string(count) + " CUDA device(s)",
        "; --device cpu runs here");
  return {torch::kCUDA, static_cast<c10::DeviceIndex>(index)};
}

}  // namespace ballast
