#include <ballast/loss/focal.h>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>

namespace ballast {

torch::Tensor focal_loss(const torch::Tensor& logits, const torch::Tensor& target, const FocalOptions& o) {
  check(o.gamma >= 0, "focal", "gamma must be >= 0, got ", o.gamma);
  check(o.label_smoothing >= 0 && o.label_smoothing <= 1, "focal", "label_smoothing must be in [0, 1], got ", o.label_smoothing);
  check(logits.is_floating_point(), "focal", "logits must be floating point, got ", logits.scalar_type());
  check(logits.dim() >= 2, "focal", "logits must have at least 2 dimensions, got ", shape_text(logits.sizes().vec()));
  const int64_t classes = logits.size(1);
  check(!o.alpha.defined() || (o.alpha.dim() == 1 && o.alpha.size(0) == classes), "focal", "alpha must have shape (", classes,
        "), got ", o.alpha.defined() ? shape_text(o.alpha.sizes().vec()) : "");
  const bool half = logits.scalar_type() == torch::kHalf || logits.scalar_type() == torch::kBFloat16;
  const torch::Tensor log_p = at::log_softmax(half ? logits.to(torch::kFloat) : logits, 1);

  torch::Tensor q, kept;
  if (target.scalar_type() == torch::kLong) {
    std::vector<int64_t> rows = logits.sizes().vec();
    rows.erase(rows.begin() + 1);
    check(target.sizes() == rows, "focal", "target must have the shape of the rows of logits, got ",
          shape_text(target.sizes().vec()), " and ", shape_text(logits.sizes().vec()));
    kept = target != o.ignore_index;
    const torch::Tensor wrong = ((target < 0) | (target >= classes)) & kept;
    if (wrong.any().item<bool>()) {
      fail("focal", "target must be in [0, ", classes, "), got ", target.masked_select(wrong)[0].item<int64_t>());
    }
    const torch::Tensor index = torch::where(kept, target, torch::zeros_like(target)).unsqueeze(1);
    q = at::zeros(logits.sizes(), log_p.options().requires_grad(false)).scatter(1, index, 1.0);
  } else {
    check(target.is_floating_point(), "focal", "target must be int64 classes or floating point probabilities, got ",
          target.scalar_type());
    check(target.sizes() == logits.sizes(), "focal", "target must have the shape of logits, got ",
          shape_text(target.sizes().vec()), " and ", shape_text(logits.sizes().vec()));
    q = target.to(log_p.scalar_type());
    kept = at::ones_like(log_p.select(1, 0), log_p.options().dtype(torch::kBool));
  }
  if (o.label_smoothing > 0) q = (1 - o.label_smoothing) * q + o.label_smoothing / static_cast<double>(classes);
  if (o.alpha.defined()) {
    std::vector<int64_t> shape(static_cast<size_t>(logits.dim()), 1);
    shape[1] = classes;
    q = q * o.alpha.to(log_p.scalar_type()).view(shape);
  }
  torch::Tensor terms = q * log_p;
  if (o.gamma > 0) {
    // 1 - p from log p without cancellation; bounded away from 0, where a power below 1 has no slope.
    const torch::Tensor rest = at::clamp_min(-at::expm1(log_p), 1e-30);
    terms = terms * at::pow(rest, o.gamma);
  }
  // A masked class (score -infinity) with no share of the target must not become NaN.
  terms = torch::where(q == 0, torch::zeros_like(terms), terms);
  torch::Tensor loss = -terms.sum(1);
  loss = torch::where(kept, loss, torch::zeros_like(loss));
  switch (o.reduction) {
    case Reduction::none: break;
    case Reduction::sum: loss = loss.sum(); break;
    case Reduction::mean: loss = loss.sum() / at::clamp_min(kept.sum().to(loss.scalar_type()), 1); break;
  }
  return loss.to(logits.scalar_type());
}

}  // namespace ballast
