#include <ballast/train/mc_passes.h>

#include <limits>
#include <vector>

#include <ballast/base/check.h>
#include <ballast/models/model.h>

namespace ballast {

McPasses::McPasses(Model& model, int64_t passes, Key key) : model_(model), passes_(passes), key_(key), guard_(model) {
  check(passes >= 1, "mc_dropout", "passes must be >= 1, got ", passes);
  check(guard_.layers() > 0, "mc_dropout", "model must have layers that drop, got none");
}

McPasses::Result McPasses::operator()(const torch::Tensor& x, int64_t first_row, double temperature) const {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> probabilities;
  for (int64_t t = 0; t < passes_; ++t) {
    const torch::Tensor logits = guard_.pass(t, key_, [&] { return model_.forward(x); }, first_row);
    probabilities.push_back((logits.to(torch::kCPU, torch::kFloat) / temperature).softmax(1));
  }
  Result r;
  r.summary = summarize_passes(at::stack(probabilities));
  r.logits = r.summary.mean.clamp_min(std::numeric_limits<float>::min()).log();
  return r;
}

}  // namespace ballast
