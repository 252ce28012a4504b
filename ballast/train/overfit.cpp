#include <ballast/train/overfit.h>

#include <algorithm>
#include <cmath>
#include <map>

#include <torch/types.h>

#include <ballast/base/check.h>
#include <ballast/base/sha256.h>
#include <ballast/models/model.h>
#include <ballast/report/table.h>
#include <ballast/train/run_context.h>
#include <ballast/train/tensor_batch.h>

namespace ballast {
namespace {

// The same configuration without anything that keeps a model from learning by heart.
RunOptions bare(RunOptions o) {
  o.augment.preset = "none";
  o.augment.train = {};
  o.augment.mixup_alpha = Auto<double>(0);
  o.augment.cutmix_alpha = Auto<double>(0);
  o.augment.cutmix_minmax.clear();
  for (std::string* drop : {&o.model.drop, &o.model.spatial_dropout, &o.model.alpha_dropout, &o.model.drop_connect,
                            &o.model.drop_block, &o.model.drop_path, &o.model.patch_dropout, &o.model.shake_drop, &o.model.drop_rate}) {
    *drop = "0";
  }
  o.optim.weight_decay = Auto<double>(0);
  o.loss.label_smoothing = Auto<double>(0);
  o.average = {};
  o.schedule = {};
  o.schedule.name = Auto<std::string>("constant");
  o.schedule.warmup = Auto<Duration>(Duration{0, Duration::Unit::steps});
  o.origins.erase("augment.preset");
  return o;
}

struct Fixed {
  torch::Tensor x, y;
  std::vector<uint64_t> ids;
};

std::vector<Fixed> fixed_batches(RunContext& run, int64_t batches) {
  std::vector<Fixed> out;
  run.loader->start_epoch(0);
  while (static_cast<int64_t>(out.size()) < batches) {
    const BatchSlot* slot = run.loader->next();
    if (slot == nullptr) {
      break;
    }
    const TensorBatch batch = tensor_batch(*slot);
    Fixed fixed{batch.x.clone(), batch.y.clone(), {}};
    for (size_t i = 0; i < static_cast<size_t>(slot->n); ++i) {
      if (slot->weight[i] != 0) {
        fixed.ids.push_back(slot->id[i]);
      }
    }
    out.push_back(std::move(fixed));
  }
  check<DataError>(!out.empty(), "overfit", "a batch needs pictures that can be read, got none");
  return out;
}

// Equal pictures with different labels: no model can tell them apart.
std::string contradiction(const RunContext& run, const std::vector<Fixed>& batches) {
  std::map<std::string, std::pair<int64_t, uint64_t>> seen;
  for (const Fixed& b : batches) {
    for (int64_t i = 0; i < b.x.size(0); ++i) {
      const torch::Tensor pixels = b.x[i].contiguous();
      const std::string_view bytes(reinterpret_cast<const char*>(pixels.data_ptr<float>()), static_cast<size_t>(pixels.nbytes()));
      const int64_t label = b.y[i].item<int64_t>();
      const uint64_t id = b.ids[static_cast<size_t>(i)];
      const auto [it, added] = seen.emplace(sha256_hex(bytes), std::pair(label, id));
      if (!added && it->second.first != label) {
        const auto name = [&](uint64_t n) { return run.setup.data.source->name(static_cast<int64_t>(n)); };
        const auto label_of = [&](uint64_t n) { return run.setup.data.source->label_text(static_cast<int64_t>(n)); };
        return "equal pictures have different labels: " + name(it->second.second) + " (" + label_of(it->second.second) + ") and " +
               name(id) + " (" + label_of(id) + "); ballast data check finds all";
      }
    }
  }
  return "";
}

std::vector<std::string> suspects(const RunContext& run, const std::vector<Fixed>& batches, const std::vector<double>& losses,
                                  const std::vector<std::string>& no_gradient, bool finite) {
  std::vector<std::string> out;
  const std::string lr = format_significant(*run.setup.options.optim.lr, 2);
  if (!finite) {
    out.push_back("the loss or the gradient was not finite: --lr " + lr + " is too large, or the pictures hold such values");
  }
  if (const std::string text = contradiction(run, batches); !text.empty()) {
    out.push_back(text);
  }
  if (!run.setup.options.train.freeze.empty()) {
    out.push_back("--freeze keeps " + std::to_string(run.frozen.parameters.size()) + " tensors as they are");
  }
  if (!no_gradient.empty()) {
    out.push_back("no gradient reaches " + no_gradient.front() +
                  (no_gradient.size() > 1 ? " and " + std::to_string(no_gradient.size() - 1) + " more" : "") +
                  ": ballast probe shows where it is lost");
  }
  if (losses.size() >= 8) {
    const double first = losses.front(), last = losses.back();
    const double lowest = *std::ranges::min_element(losses);
    const double half = losses[losses.size() / 2];
    if (last > 0.9 * first) {
      out.push_back("the loss did not move: --lr " + lr + " is far too small or too large (ballast lr-find), or the start is bad (ballast probe)");
    } else if (last > 3 * lowest) {
      out.push_back("the loss jumps: --lr " + lr + " is too large");
    } else if (last < 0.7 * half) {
      out.push_back("the loss still falls: a larger --lr than " + lr + " or a larger model would get there");
    } else {
      out.push_back("the loss stays above its goal: the model is too small for these samples (" +
                    std::to_string(run.plan.parameters) + " parameters), or labels contradict each other");
    }
  }
  return out;
}

}  // namespace

OverfitResult overfit(const RunOptions& options, int64_t batches, RunEvents& events, int64_t max_steps) {
  check(batches >= 1, "overfit", "batches must be at least 1, got ", batches);
  RunContext run(bare(options), events);
  for (const torch::Tensor& p : run.model->parameters()) {
    run.plan.parameters += p.requires_grad() ? p.numel() : 0;
  }
  TrainerOptions t = run.trainer_options();
  t.total_steps = max_steps;
  Trainer trainer(*run.model, [&run](const torch::Tensor& x) { return run.model->forward(x); }, t);
  run.training_mode();
  const std::vector<Fixed> fixed = fixed_batches(run, batches);
  events.on_phase("learning by heart");

  OverfitResult result;
  result.batches = static_cast<int64_t>(fixed.size());
  result.classes = run.setup.model.num_classes;
  const bool several = run.setup.data.several_labels();
  // A hundredth of the loss of a model that knows nothing.
  result.goal = 0.01 * (several ? static_cast<double>(result.classes) * std::log(2.0) : std::log(static_cast<double>(result.classes)));
  for (const Fixed& b : fixed) {
    result.samples += b.x.size(0);
  }
  std::vector<torch::Tensor> before;
  for (const torch::Tensor& p : run.model->parameters()) {
    before.push_back(p.detach().clone());
  }
  std::vector<double> losses;
  bool finite = true;
  while (!result.passed && finite && trainer.steps() + result.batches <= max_steps) {
    double sum = 0;
    for (const Fixed& b : fixed) {
      result.interrupted = events.stop_requested();
      if (result.interrupted) {
        return result;
      }
      const StepResult step = trainer.step(b.x, b.y);
      finite = finite && step.finite;
      sum += step.loss * static_cast<double>(b.x.size(0));
    }
    losses.push_back(sum / static_cast<double>(result.samples));
    result.passed = finite && losses.back() <= result.goal;
  }
  result.steps = trainer.steps();
  if (!losses.empty()) {
    result.first_loss = losses.front();
    result.loss = losses.back();
  }
  torch::NoGradGuard no_grad;
  const torch::Tensor sets = label_matrix(run.setup.data.source->label_sets(), result.classes);
  int64_t right = 0;
  for (const Fixed& b : fixed) {
    const torch::Tensor logits = run.model->forward(b.x.to(run.device)).to(torch::kCPU);
    const torch::Tensor y = b.y.to(torch::kCPU);
    const torch::Tensor is_right = several ? logits.gt(0).eq(sets.index_select(0, y).gt(0)).all(1) : logits.argmax(1).eq(y);
    right += is_right.sum().item<int64_t>();
  }
  result.accuracy = static_cast<double>(right) / static_cast<double>(result.samples);
  if (!result.passed) {
    std::vector<std::string> no_gradient;
    size_t i = 0;
    for (const auto& p : run.model->named_parameters()) {
      if (p.value().requires_grad() && p.value().equal(before[i])) {
        no_gradient.push_back(p.key());
      }
      ++i;
    }
    result.suspects = suspects(run, fixed, losses, no_gradient, finite);
  }
  return result;
}

}  // namespace ballast
