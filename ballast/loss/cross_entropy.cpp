#include <ballast/loss/cross_entropy.h>

#include <algorithm>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/loss/cross_entropy_op.h>

namespace ballast {
namespace {

std::string text_of(const torch::Tensor& x) { return shape_text(x.sizes().vec()); }

void check_options(const torch::Tensor& logits, const CrossEntropyOptions& o) {
  check(o.label_smoothing >= 0 && o.label_smoothing <= 1, "cross_entropy", "label_smoothing must be in [0, 1], got ",
        o.label_smoothing);
  check(logits.is_floating_point(), "cross_entropy", "logits must be floating point, got ", logits.scalar_type());
  check(logits.dim() >= 2, "cross_entropy", "logits must have at least 2 dimensions, got ", text_of(logits));
  const int64_t classes = logits.size(1);
  check(!o.weight.defined() || (o.weight.dim() == 1 && o.weight.size(0) == classes), "cross_entropy",
        "weight must have shape (", classes, "), got ", o.weight.defined() ? text_of(o.weight) : "");
}

// Class targets: one for each row.
void check_rows(const torch::Tensor& logits, const torch::Tensor& target) {
  std::vector<int64_t> rows = logits.sizes().vec();
  rows.erase(rows.begin() + 1);
  check(target.scalar_type() == torch::kLong && target.sizes() == rows, "cross_entropy",
        "target must have the shape of the rows of logits, got ", text_of(target), " and ", text_of(logits));
}

// The type that scores are computed in.
torch::Tensor widened(const torch::Tensor& logits) {
  const bool half = logits.scalar_type() == torch::kHalf || logits.scalar_type() == torch::kBFloat16;
  return half ? logits.to(torch::kFloat) : logits;
}

torch::Tensor reduced(const detail::RowLosses& rows, bool shares, Reduction reduction, torch::Dtype dtype) {
  if (reduction == Reduction::none) return rows.loss.to(dtype);
  torch::Tensor sum = rows.loss.sum();
  if (reduction == Reduction::mean) {
    if (shares) {
      // 1 where nothing counts: 0 / 1 is 0 with zero gradients.
      const torch::Tensor divisor = rows.share.detach().sum();
      sum = sum / torch::where(divisor == 0, torch::ones_like(divisor), divisor);
    } else {
      sum = sum / static_cast<double>(std::max<int64_t>(rows.loss.numel(), 1));
    }
  }
  return sum.to(dtype);
}

}  // namespace

torch::Tensor cross_entropy(const torch::Tensor& logits, const MixTarget& target, const CrossEntropyOptions& o) {
  const torch::Tensor lam = target.lam.detach();
  const torch::Tensor wrong = ~((lam >= 0) & (lam <= 1));
  if (wrong.any().item<bool>()) {
    fail("cross_entropy", "lam must be in [0, 1], got ", lam.masked_select(wrong)[0].item<double>());
  }
  check(logits.dim() == 2 && (lam.dim() == 0 || lam.sizes() == target.a.sizes()), "cross_entropy",
        "lam must be a scalar or have one value for each row of (N, K) logits, got ", text_of(lam), " and ",
        text_of(logits));
  check_options(logits, o);
  check_rows(logits, target.a);
  check_rows(logits, target.b);
  const torch::Tensor x = widened(logits);
  const auto as_x = [&](const torch::Tensor& t) { return t.defined() ? t.to(x.scalar_type()) : t; };
  return reduced(detail::cross_entropy_rows(x, {.target = target.a,
                                                .other = target.b,
                                                .lam = as_x(lam),
                                                .weight = as_x(o.weight),
                                                .label_smoothing = o.label_smoothing,
                                                .ignore_index = -1}),  // no class
                 /*shares=*/false, o.reduction, logits.scalar_type());
}

torch::Tensor cross_entropy(const torch::Tensor& logits, const torch::Tensor& target, const CrossEntropyOptions& o) {
  check_options(logits, o);
  const bool indices = target.scalar_type() == torch::kLong;
  check(indices || target.is_floating_point(), "cross_entropy",
        "target must be int64 classes or floating point probabilities, got ", target.scalar_type());
  if (indices) {
    check_rows(logits, target);
  } else {
    check(target.sizes() == logits.sizes(), "cross_entropy", "target must have the shape of logits, got ",
          text_of(target), " and ", text_of(logits));
  }
  const torch::Tensor x = widened(logits);
  const detail::RowTarget rows{.target = indices ? target : target.to(x.scalar_type()),
                               .weight = o.weight.defined() ? o.weight.to(x.scalar_type()) : o.weight,
                               .label_smoothing = o.label_smoothing,
                               .ignore_index = o.ignore_index};
  detail::RowLosses losses = detail::cross_entropy_rows(x, rows);
  // The operator has no gradient by the target.
  if (torch::GradMode::is_enabled() && target.requires_grad()) losses = detail::composed_cross_entropy_rows(x, rows);
  return reduced(losses, indices, o.reduction, logits.scalar_type());
}

}  // namespace ballast
