#include <ballast/train/trainer.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>

#include <ATen/Functions.h>
#include <torch/cuda.h>
#include <torch/nn/module.h>

#include <ballast/base/check.h>
#include <ballast/base/step_scope.h>
#include <ballast/loss/bce.h>
#include <ballast/loss/cross_entropy.h>
#include <ballast/loss/focal.h>

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
  check(options_.clip == ClipMode::off || options_.clip_limit > 0, "trainer", "clip_limit must be > 0, got ",
        options_.clip_limit);
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
  result.lr = lr_scale_ * lr_at(options_.schedule, t_, options_.total_steps);
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
  const int64_t rows = options_.micro_batch == 0 ? n : std::min(n, options_.micro_batch);
  const int64_t parts = (n + rows - 1) / rows;
  for (int64_t m = 0; m < parts; ++m) {
    // Parts of nearly equal size: a part of one would have no batch statistics.
    const int64_t begin = m * n / parts;
    const int64_t end = (m + 1) * n / parts;
    torch::Tensor part = parts == 1 ? x : x.slice(0, begin, end);
    torch::Tensor target = parts == 1 ? y : y.slice(0, begin, end);
    if (!device_.is_cpu()) {
      part = part.to(device_, /*non_blocking=*/true);
      target = target.to(device_, /*non_blocking=*/true);
    }
    const StepScope scope(options_.seed, 0, static_cast<uint64_t>(t_), begin);
    const torch::Tensor logits = forward_(part);
    const auto rows_of = [&](const torch::Tensor& t) {
      return (parts == 1 ? t : t.slice(0, begin, end)).to(device_, /*non_blocking=*/true);
    };
    const torch::Tensor sum = partner.defined()
                                  ? summed_mixed_loss(logits, target, rows_of(partner), rows_of(lam), options_)
                                  : summed_loss(logits, target, options_);
    const torch::Tensor loss = sum.div(static_cast<double>(n));
    result.loss += loss.item<double>();
    result.forward += watch.lap();
    loss.backward();
    result.backward += watch.lap();
  }
  result.gradient_norm = optimizer_.gradient_norm();
  if (!std::isfinite(result.loss) || !std::isfinite(result.gradient_norm)) {
    torch::NoGradGuard no_grad;
    for (size_t i = 0; i < buffers_.size(); ++i) {
      buffers_[i].copy_(saved_[i]);
    }
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
