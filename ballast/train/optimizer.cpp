#include <ballast/train/optimizer.h>

#include <algorithm>
#include <cmath>
#include <map>

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <ballast/base/check.h>
#include <ballast/ops/l2_norm.h>
#include <ballast/ops/pieces.h>
#include <ballast/train/optimizer_kernel.h>

namespace ballast {
namespace {

constexpr int64_t kStepChunk = 16384;

bool decays(const NamedParameter& p, const OptimizerOptions& o) {
  return p.value.dim() > 1 && std::find(o.no_decay.begin(), o.no_decay.end(), p.name) == o.no_decay.end();
}

void check_options(const OptimizerOptions& o) {
  check(o.name == "sgd" || o.name == "adam" || o.name == "adamw", "optimizer", "name must be sgd, adam or adamw, got ",
        o.name);
  check(o.weight_decay >= 0, "optimizer", "weight_decay must be >= 0, got ", o.weight_decay);
  check(o.momentum >= 0 && o.momentum < 1, "optimizer", "momentum must be in [0, 1), got ", o.momentum);
  check(o.beta1 >= 0 && o.beta1 < 1, "optimizer", "beta1 must be in [0, 1), got ", o.beta1);
  check(o.beta2 >= 0 && o.beta2 < 1, "optimizer", "beta2 must be in [0, 1), got ", o.beta2);
  check(o.eps > 0, "optimizer", "eps must be > 0, got ", o.eps);
}

// Decay for those of more than one dimension.
std::vector<ParamGroup> default_groups(const std::vector<NamedParameter>& parameters, const OptimizerOptions& options) {
  ParamGroup decay, no_decay;
  decay.name = "decay";
  decay.weight_decay = options.weight_decay;
  no_decay.name = "no_decay";
  for (const NamedParameter& p : parameters) {
    if (p.value.requires_grad()) {
      ParamGroup& group = decays(p, options) ? decay : no_decay;
      group.parameters.push_back(p.name);
      group.numbers += p.value.numel();
    }
  }
  std::vector<ParamGroup> groups;
  for (ParamGroup* group : {&decay, &no_decay}) {
    if (!group->parameters.empty()) {
      groups.push_back(std::move(*group));
    }
  }
  return groups;
}

std::map<std::string, const ParamGroup*> group_of_each(const std::vector<NamedParameter>& parameters,
                                                       const std::vector<ParamGroup>& groups) {
  std::map<std::string, bool> trains;
  for (const NamedParameter& p : parameters) {
    trains[p.name] = p.value.requires_grad();
  }
  std::map<std::string, const ParamGroup*> found;
  for (const ParamGroup& group : groups) {
    check(group.lr_scale >= 0 && group.weight_decay >= 0, "optimizer", "a group's lr_scale and weight_decay must be >= 0, got ",
          group.lr_scale, " and ", group.weight_decay);
    for (const std::string& name : group.parameters) {
      const auto known = trains.find(name);
      check(known != trains.end() && known->second, "optimizer", "a group must name parameters that require a gradient, got ",
            name);
      check(found.emplace(name, &group).second, "optimizer", "a parameter must be in one group, got ", name, " in two");
    }
  }
  return found;
}

}  // namespace

Optimizer::Optimizer(std::vector<NamedParameter> parameters, const OptimizerOptions& options) : options_(options) {
  check_options(options);
  groups_ = options.groups.empty() ? default_groups(parameters, options) : options.groups;
  const auto by_name = group_of_each(parameters, groups_);
  for (NamedParameter& p : parameters) {
    const auto found = by_name.find(p.name);
    if (found == by_name.end()) {
      continue;
    }
    Slot slot;
    slot.weight_decay = found->second->weight_decay;
    slot.lr_scale = found->second->lr_scale;
    slot.fast = p.value.device().is_cpu() && p.value.scalar_type() == torch::kFloat && p.value.is_non_overlapping_and_dense();
    const auto zeros = [&] { return torch::zeros_like(p.value, torch::TensorOptions().requires_grad(false), torch::MemoryFormat::Preserve); };
    if (options.name != "sgd" || options.momentum != 0) {
      slot.first = zeros();
    }
    if (options.name != "sgd") {
      slot.second = zeros();
    }
    slot.parameter = std::move(p);
    slots_.push_back(std::move(slot));
  }
  check(!slots_.empty(), "optimizer", "parameters must hold at least one that requires a gradient, got none");
  for (size_t s = 0; s < slots_.size(); ++s) {
    if (slots_[s].fast) {
      const int64_t n = slots_[s].parameter.value.numel();
      for (int64_t begin = 0; begin < n; begin += kStepChunk) {
        chunks_.push_back({s, begin, std::min(kStepChunk, n - begin)});
      }
    }
  }
}

// The gradient in the parameter's own order of memory.
torch::Tensor Optimizer::matched_gradient(const Slot& slot) const {
  const torch::Tensor& value = slot.parameter.value;
  const torch::Tensor& g = value.grad();
  if (!g.defined() || !slot.fast || g.strides() == value.strides()) {
    return g;
  }
  torch::Tensor copy = torch::empty_like(value, torch::TensorOptions().requires_grad(false), torch::MemoryFormat::Preserve);
  torch::NoGradGuard no_grad;
  return copy.copy_(g);
}

double Optimizer::gradient_norm() const {
  torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> gradients;
  gradients.reserve(slots_.size());
  for (const Slot& slot : slots_) {
    gradients.push_back(matched_gradient(slot));
  }
  std::vector<double> sums(chunks_.size(), 0);
  at::parallel_for(0, static_cast<int64_t>(chunks_.size()), 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Chunk& c = chunks_[static_cast<size_t>(i)];
      if (gradients[c.slot].defined()) {
        sums[static_cast<size_t>(i)] =
            sum_squares(gradients[c.slot].data_ptr<float>() + c.begin, static_cast<size_t>(c.size));
      }
    }
  });
  double total = 0;
  for (const double s : sums) {
    total += s;
  }
  for (size_t s = 0; s < slots_.size(); ++s) {
    if (!slots_[s].fast && gradients[s].defined()) {
      const double norm = ops::l2_norm(gradients[s]);
      total += norm * norm;
    }
  }
  return std::sqrt(total);
}

void Optimizer::clip_values(double limit) {
  torch::NoGradGuard no_grad;
  for (const Slot& slot : slots_) {
    torch::Tensor g = slot.parameter.value.grad();
    if (g.defined()) {
      if (slot.fast && g.is_non_overlapping_and_dense()) {
        clamp_abs(g.data_ptr<float>(), static_cast<size_t>(g.numel()), static_cast<float>(limit));
      } else {
        g.clamp_(-limit, limit);
      }
    }
  }
}

bool Optimizer::clip_units(double limit, const std::string& head) {
  torch::NoGradGuard no_grad;
  bool clipped = false;
  for (const Slot& slot : slots_) {
    torch::Tensor g = slot.parameter.value.grad();
    if (!g.defined() || slot.parameter.name.starts_with(head + ".")) {
      continue;
    }
    std::vector<int64_t> dims;  // all but the first
    for (int64_t d = 1; d < g.dim(); ++d) {
      dims.push_back(d);
    }
    const auto norm = [&](const torch::Tensor& t) {
      return dims.empty() ? ops::on_one_thread([&] { return t.norm(); }) : at::linalg_vector_norm(t, 2, dims, /*keepdim=*/true);
    };
    const torch::Tensor factor =
        norm(slot.parameter.value.detach()).clamp_min(1e-3).mul(limit).div(norm(g).clamp_min(1e-12)).clamp_max(1);
    clipped = clipped || factor.min().item<double>() < 1;
    g.mul_(factor);
  }
  return clipped;
}

void Optimizer::step(double lr, double scale, std::optional<double> momentum) {
  torch::NoGradGuard no_grad;
  ++steps_;
  std::vector<torch::Tensor> gradients;
  gradients.reserve(slots_.size());
  for (const Slot& slot : slots_) {
    gradients.push_back(matched_gradient(slot));
  }
  const bool sgd = options_.name == "sgd";
  const double mu = sgd ? momentum.value_or(options_.momentum) : 0;
  const double beta1 = momentum.value_or(options_.beta1);
  const auto t = static_cast<double>(steps_);
  const double bc1 = 1 - std::pow(beta1, t);
  const double root_bc2 = std::sqrt(1 - std::pow(options_.beta2, t));
  at::parallel_for(0, static_cast<int64_t>(chunks_.size()), 2, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Chunk& c = chunks_[static_cast<size_t>(i)];
      Slot& slot = slots_[c.slot];
      if (!gradients[c.slot].defined()) {
        continue;
      }
      const double own_lr = lr * slot.lr_scale;
      float* w = slot.parameter.value.data_ptr<float>() + c.begin;
      const float* g = gradients[c.slot].data_ptr<float>() + c.begin;
      const auto n = static_cast<size_t>(c.size);
      float* first = slot.first.defined() ? slot.first.data_ptr<float>() + c.begin : nullptr;
      if (sgd) {
        SgdStep s;
        s.lr = static_cast<float>(own_lr);
        s.momentum = first == nullptr ? 0.0F : static_cast<float>(mu);
        s.weight_decay = static_cast<float>(slot.weight_decay);
        s.nesterov = options_.nesterov;
        s.first = steps_ == 1;
        sgd_update(w, g, first, n, s, static_cast<float>(scale));
      } else {
        AdamStep s;
        s.rest1 = static_cast<float>(1 - beta1);
        s.rest2 = static_cast<float>(1 - options_.beta2);
        s.beta2 = static_cast<float>(options_.beta2);
        s.eps = static_cast<float>(options_.eps);
        s.step_size = static_cast<float>(own_lr / bc1);
        s.root_bc2 = static_cast<float>(root_bc2);
        const bool decoupled = options_.name == "adamw";
        s.weight_decay = decoupled ? 0.0F : static_cast<float>(slot.weight_decay);
        s.shrink = decoupled ? static_cast<float>(1 - own_lr * slot.weight_decay) : 1.0F;
        adam_update(w, g, first, slot.second.data_ptr<float>() + c.begin, n, s, static_cast<float>(scale));
      }
    }
  });
  for (Slot& slot : slots_) {
    if (!slot.fast && slot.parameter.value.grad().defined()) {
      step_composed(slot, lr * slot.lr_scale, scale, sgd ? mu : beta1);
    }
  }
}

void Optimizer::step_composed(Slot& slot, double lr, double scale, double momentum) {
  torch::Tensor w = slot.parameter.value.detach();
  torch::Tensor g = slot.parameter.value.grad().detach() * scale;
  if (options_.name == "adamw") {
    w.mul_(1 - lr * slot.weight_decay);
  } else if (slot.weight_decay != 0) {
    g = g.add(w, slot.weight_decay);
  }
  if (options_.name == "sgd") {
    if (!slot.first.defined()) {
      w.sub_(g, lr);
      return;
    }
    if (steps_ == 1) {
      slot.first.copy_(g);
    } else {
      slot.first.mul_(momentum).add_(g);
    }
    w.sub_(options_.nesterov ? g.add(slot.first, momentum) : slot.first, lr);
    return;
  }
  const auto t = static_cast<double>(steps_);
  slot.first.add_(g - slot.first, 1 - momentum);
  slot.second.mul_(options_.beta2).addcmul_(g, g, 1 - options_.beta2);
  const torch::Tensor denominator = slot.second.sqrt().div_(std::sqrt(1 - std::pow(options_.beta2, t))).add_(options_.eps);
  w.addcdiv_(slot.first, denominator, -lr / (1 - std::pow(momentum, t)));
}

void Optimizer::zero_grad() {
  for (Slot& slot : slots_) {
    slot.parameter.value.mutable_grad() = torch::Tensor();
  }
}

std::vector<NamedParameter> Optimizer::state() const {
  std::vector<NamedParameter> all;
  const bool sgd = options_.name == "sgd";
  for (const Slot& slot : slots_) {
    if (slot.first.defined()) {
      all.push_back({(sgd ? "momentum." : "exp_avg.") + slot.parameter.name, slot.first});
    }
    if (slot.second.defined()) {
      all.push_back({"exp_avg_sq." + slot.parameter.name, slot.second});
    }
  }
  return all;
}

void Optimizer::restore(int64_t steps, const StateDict& saved, const std::string& label) {
  StateDict own;
  for (const NamedParameter& p : state()) {
    own.emplace(p.name, p.value);
  }
  copy_into(own, saved, label);
  steps_ = steps;
}

}  // namespace ballast
