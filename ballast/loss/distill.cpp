#include <ballast/loss/distill.h>

#include <ATen/Functions.h>

#include <ballast/base/check.h>

namespace ballast {

torch::Tensor distill(const torch::Tensor& logits, const torch::Tensor& teacher,
                      const DistillOptions& options) {
  const double t = options.temperature;
  check(t > 0, "distill", "temperature must be > 0, got ", t);
  check(logits.dim() == 2 && logits.sizes() == teacher.sizes(), "distill",
        "teacher must have the shape of logits, got ", teacher.sizes(), " and ", logits.sizes());
  const torch::Tensor log_p = at::log_softmax(teacher.detach() / t, 1);
  const torch::Tensor log_q = at::log_softmax(logits / t, 1);
  const torch::Tensor rows = (log_p.exp() * (log_p - log_q)).sum(1) * (t * t);
  switch (options.reduction) {
    case Reduction::none:
      return rows;
    case Reduction::sum:
      return rows.sum();
    default:
      return rows.mean();
  }
}

}  // namespace ballast
