#include <ballast/drop/mc_dropout.h>

#include <torch/nn/module.h>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/base/step_scope.h>

namespace ballast {

McDropout::McDropout(torch::nn::Module& model) : model_(model) {
  for (const auto& module : model.modules()) {
    training_.emplace_back(module.get(), module->is_training());
    if (auto* drop = dynamic_cast<DropLayer*>(module.get()); drop != nullptr && drop->mode() != DropMode::never) {
      drops_.emplace_back(drop, drop->mode());
    }
  }
  model.eval();
  for (const auto& [drop, mode] : drops_) drop->set_mode(DropMode::always);
}

McDropout::~McDropout() {
  for (const auto& [drop, mode] : drops_) drop->set_mode(mode);
  // train() of a module reaches its children: outer ones first, so that each ends with its own flag.
  for (const auto& [module, training] : training_) module->train(training);
}

torch::Tensor McDropout::pass(int64_t t, Key key, const std::function<torch::Tensor()>& forward, int64_t first_row) const {
  torch::NoGradGuard no_grad;
  const StepScope scope(key.fold_in("mc").fold_in(static_cast<uint64_t>(t)), 0, first_row);
  return forward();
}

McSummary summarize_passes(const torch::Tensor& p) {
  check(p.dim() == 3 && p.size(0) >= 1, "mc_dropout", "probabilities must be (T, N, K) with T >= 1, got ",
        shape_text(p.sizes().vec()));
  const auto entropy = [](const torch::Tensor& q) { return -at::xlogy(q, q).sum(-1); };
  McSummary s;
  s.mean = p.mean(0);
  s.variance = (p - s.mean).square().mean(0);
  s.mutual_information = entropy(s.mean) - entropy(p).mean(0);
  return s;
}

}  // namespace ballast
