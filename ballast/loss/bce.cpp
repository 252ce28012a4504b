#include <ballast/loss/bce.h>

#include <algorithm>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/ops/pieces.h>

namespace ballast {
namespace {

// LibTorch would cut the sum by the number of threads.
torch::Tensor total(const torch::Tensor& loss) {
  return ops::on_one_thread([&] { return loss.sum(); });
}

}  // namespace

torch::Tensor bce_with_logits(const torch::Tensor& given, const torch::Tensor& target, const BceOptions& o) {
  check(given.is_floating_point(), "bce", "x must be floating point, got ", given.scalar_type());
  check(target.is_floating_point(), "bce", "target must be floating point, got ", target.scalar_type());
  check(target.sizes() == given.sizes(), "bce", "target must have the shape of x, got ", shape_text(target.sizes().vec()),
        " and ", shape_text(given.sizes().vec()));
  check(o.label_smoothing >= 0 && o.label_smoothing <= 1, "bce", "label_smoothing must be in [0, 1], got ", o.label_smoothing);
  check(!o.sum_classes || given.dim() >= 2, "bce", "x must have at least 2 dimensions to sum classes, got ",
        shape_text(given.sizes().vec()));
  const bool half = given.scalar_type() == torch::kHalf || given.scalar_type() == torch::kBFloat16;
  const torch::Tensor x = half ? given.to(torch::kFloat) : given;
  torch::Tensor t = target.to(x.scalar_type());
  if (o.target_threshold) t = (t > *o.target_threshold).to(x.scalar_type());
  if (o.label_smoothing > 0) {
    const double classes = given.dim() >= 2 ? static_cast<double>(given.size(1)) : 1;
    t = t * (1 - o.label_smoothing) + o.label_smoothing / (o.per_class ? classes : 2);
  }
  // The operator, not its formula: |x| and max(-x, 0) have a kink at 0, where a head that starts at 0 has all its scores.
  const torch::Tensor l = -at::log_sigmoid(x);
  torch::Tensor loss = (1 - t) * x;
  loss = loss + (o.pos_weight.defined() ? (1 + (o.pos_weight - 1) * t) * l : l);
  if (o.weight.defined()) loss = loss * o.weight;
  switch (o.reduction) {
    case Reduction::none: break;
    case Reduction::sum: loss = total(loss); break;
    case Reduction::mean:
      // An empty batch: 0, with zero gradients.
      loss = total(loss) / static_cast<double>(std::max<int64_t>(1, o.sum_classes ? loss.size(0) : loss.numel()));
      break;
  }
  return loss.to(given.scalar_type());
}

}  // namespace ballast
